//! Damage while the channel is at work, while it opens, and after long lives.

use std::collections::BTreeSet;

use forebay_wal::fs::sim::Survive;

use forebay_proof::filled::{CURSORS, filled, losses, named};
use forebay_proof::lab::{ACK, Lab, PUT, blocks, for_seeds, peek, put, rises, seqs};
use forebay_proof::life::Life;
use forebay_proof::model::Dice;
use forebay_proof::script::{Class, Op, Recipe, Script};

#[test]
fn p6_single_takes_pass_over_a_damaged_block() {
    let filled = filled(18);
    let (path, found) = &filled.live[1];
    let hit = found.iter().rfind(|block| block.has(PUT)).expect("puts");
    let lab = filled.lab.copy();
    lab.fs.flip_bit(path, hit.offset + 100, 0);
    let channel = lab.open();
    let mut take = channel.take_transaction("main").expect("a take");
    let mut seen = BTreeSet::new();
    while let Some(event) = take.take().expect("it reads on") {
        assert!(seen.insert(event.seq));
    }
    let expected = filled.events.keys().filter(|seq| !(hit.seqs.0..hit.seqs.1).contains(seq));
    assert_eq!(seen, expected.copied().collect());
}

#[test]
fn p6_damage_under_a_running_channel_is_told_once_and_costs_its_blocks() {
    for_seeds(30, |seed| {
        let mut dice = Dice::new(seed);
        let lab = Lab::new(seed);
        // Nothing is served from memory.
        let lab = lab.with(lab.options.clone().tail_bytes(0));
        let channel = lab.open();
        let mut id = 1;
        while channel.stats().segments_live < 4 {
            put(&channel, id..id + 3).expect("there is room");
            id += 3;
        }
        let mut lost = BTreeSet::new();
        for _ in 0..1 + dice.below(4) {
            let segments = lab.segments();
            let path = &segments[dice.below(3) as usize];
            let found = blocks(&lab.fs.read_file(path));
            let puts: Vec<_> = found.iter().filter(|block| block.has(PUT)).collect();
            let hit = puts[dice.below(puts.len() as u64) as usize];
            // Twice the same bit would heal it.
            if lost.insert(hit.seqs.0) {
                lost.extend(hit.seqs.0..hit.seqs.1);
                lab.fs.flip_bit(path, hit.offset + 196 + dice.below(60), 1);
            }
        }
        let expected: BTreeSet<u64> = (1..id).filter(|seq| !lost.contains(seq)).collect();
        for cursor in ["second", "main", "second"] {
            let mut seen = BTreeSet::new();
            while dice.below(4) > 0 {
                let mut take = channel.take_transaction(cursor).expect("a take");
                let count = 1 + dice.below(20) as usize;
                let taken = take.take_many(count, usize::MAX).expect("events");
                assert!(taken.windows(2).all(|pair| pair[0].seq < pair[1].seq));
                if dice.below(2) == 0 {
                    take.rollback();
                } else {
                    take.commit().expect("an acknowledgement");
                    seen.extend(taken.iter().map(|taken| taken.seq));
                }
            }
            let rest = seqs(&peek(&channel, cursor));
            assert!(rest.is_disjoint(&seen));
            if cursor == "main" {
                assert_eq!(&rest | &seen, expected);
            }
        }
        assert_eq!(named(&losses(&channel)), lost);
        assert_eq!(channel.stats().lost_events, lost.len() as u64);
        lab.idle(&channel);
        drop(channel);
        let channel = lab.open();
        peek(&channel, "main");
        channel.add_cursor("new", forebay_wal::CursorStart::Oldest).expect("room");
        assert!(seqs(&peek(&channel, "new")).is_disjoint(&lost));
        assert_eq!(named(&losses(&channel)), lost);
        assert_eq!(channel.stats().lost_events, lost.len() as u64);
    });
}

#[test]
fn p6_a_power_cut_while_a_loss_is_noticed_changes_nothing_of_it() {
    let filled = filled(19);
    for segment in 1..4 {
        let (path, found) = &filled.live[segment];
        // The first one, so that the end of the log is behind it.
        let hit = found.iter().find(|block| block.has(PUT)).expect("puts");
        let damage = |lab: &Lab| lab.fs.flip_bit(path, hit.offset + 100, 0);
        let cost = filled.cost(segment, hit.offset, hit.end());
        let trial = filled.lab.copy();
        damage(&trial);
        let first = trial.fs.ops();
        let channel = trial.open();
        peek(&channel, "main");
        trial.idle(&channel);
        let ops = trial.fs.ops() - first;
        drop(channel);
        for n in 0..ops {
            for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(n)] {
                let lab = filled.lab.copy();
                damage(&lab);
                lab.fs.crash_at(lab.fs.ops() + n);
                if let Ok(channel) = lab.try_open() {
                    let mut take = channel.take_transaction("main").expect("a take");
                    // It may go on with what it has read, or say that the disk is gone.
                    let _ = take.take_many(1000, usize::MAX);
                    take.rollback();
                    lab.idle(&channel);
                }
                let lab = lab.on(lab.fs.crash(survive));
                filled.verify(&format!("segment {segment}, op {n}, {survive:?}"), &lab, &cost);
            }
        }
    }
}

/// Many generations, torn ends and void blocks, and then a bit turns over.
fn a_bit_after_lives(seed: u64, class: Class) {
    let mut life = Life::new(seed, class);
    let mut dice = Dice::new(seed ^ 0x5a5a);
    for round in 0..4 {
        let (ops, survive) = (30 + dice.below(150) as u16, Survive::Seed(dice.any()));
        let script = Script::random(seed << 8 | round, class, Recipe::calm(400));
        for op in [Op::CrashAt { ops, survive }].iter().chain(&script.ops) {
            life.step(op).unwrap_or_else(|what| panic!("life {round}: {what}"));
            if life.report.cuts > round {
                break;
            }
        }
    }
    life.close();
    let lab = life.lab.clone();
    let channel = lab.open();
    lab.idle(&channel);
    drop(channel);
    // A generation later, all of that is synced and says so.
    drop(lab.open());
    let whole = lab.copy();
    let segments = lab.segments();
    let path = &segments[dice.below(segments.len() as u64) as usize];
    let found = blocks(&lab.fs.read_file(path));
    let Some(last) = found.len().checked_sub(3) else { return };
    let hit = &found[dice.below(last as u64 + 1) as usize];
    lab.fs.flip_bit(path, hit.offset + dice.below(240), dice.below(8) as u8);
    let (one, two) = (whole.open(), lab.open());
    let hit_seqs: BTreeSet<u64> = (hit.seqs.0..hit.seqs.1).collect();
    for cursor in CURSORS {
        let (good, seen) = (peek(&one, cursor), peek(&two, cursor));
        assert!(rises(&seen));
        let (good, seen): (BTreeSet<_>, BTreeSet<_>) =
            (good.into_iter().collect(), seen.into_iter().collect());
        for (seq, id) in good.difference(&seen) {
            let named = losses(&two).iter().any(|l| l.seqs.start <= *seq && *seq < l.seqs.end);
            assert!(hit_seqs.contains(seq) && named, "{id} is lost, and {hit:?} was hit");
        }
        let more: Vec<_> = seen.difference(&good).collect();
        assert!(more.is_empty() || hit.has(ACK), "{more:?} came again, and {hit:?} was hit");
    }
    assert_eq!(one.stats().next_seq, two.stats().next_seq, "{hit:?}");
}

#[test]
fn p6_a_bit_after_many_lives_costs_its_block_at_most() {
    for_seeds(100, |seed| {
        a_bit_after_lives(seed, Class::Commit);
        a_bit_after_lives(seed, Class::Interval);
    });
}

#[test]
fn p6_p7_an_event_that_is_longer_than_its_put_is_a_loss_and_no_endless_loop() {
    let filled = filled(21);
    for segment in [1, 3] {
        let (path, found) = &filled.live[segment];
        let hit = found.iter().find(|block| block.kinds == [PUT]).expect("a put alone");
        let lab = filled.lab.copy();
        let bytes = lab.fs.read_file(path);
        let mut block = bytes[hit.offset as usize..hit.end() as usize].to_vec();
        let extras = u32::from_le_bytes(block[216..220].try_into().expect("four bytes"));
        let event = 220 + extras as usize;
        block[event..event + 4].copy_from_slice(&[0xff; 4]);
        // Every checksum says that it is sound.
        let body_len = u32::from_le_bytes(block[108..112].try_into().expect("four bytes"));
        let end = 192 + body_len as usize;
        let record = [&block[192..200], &block[204..end]].concat();
        let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
        block[200..204].copy_from_slice(&sum(&record));
        let body = sum(&block[192..end]);
        block[168..172].copy_from_slice(&body);
        let head = sum(&block[..188]);
        block[188..192].copy_from_slice(&head);
        lab.fs.overwrite(path, hit.offset, &block);
        let channel = lab.open();
        let seen = seqs(&peek(&channel, "main"));
        let lost: BTreeSet<u64> = (hit.seqs.0..hit.seqs.1).collect();
        assert!(seen.is_disjoint(&lost));
        assert_eq!(seen.len() + lost.len(), filled.events.len());
        assert_eq!(named(&losses(&channel)), lost);
    }
}
