//! Bytes, sectors and files change behind the channel's back: what is not hit is delivered, what is
//! hit is named once, and its bytes are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use forebay_wal::{Channel, Loss};

use crate::lab::{
    ACK, Block, Lab, PUT, SEAL, SECTOR, ack, blocks, drain, name_of, peek, put, rises, seqs, u64_at,
};
use crate::model::{DIR, Dice};

/// A channel with a few live segments, and all that is known of it.
struct Filled {
    lab: Lab,
    /// seq -> id
    events: BTreeMap<u64, u64>,
    /// What each cursor has acknowledged.
    acked: BTreeMap<&'static str, BTreeSet<u64>>,
    /// The live segments, oldest first, and their blocks.
    live: Vec<(PathBuf, Vec<Block>)>,
}

const CURSORS: [&str; 2] = ["main", "second"];

/// Four segments and a bit: `main` has seen little, `second` here and there; all of it is synced
/// and says so.
fn filled(seed: u64) -> Filled {
    let lab = Lab::new(seed);
    let channel = lab.open();
    let mut dice = Dice::new(seed);
    let mut events = BTreeMap::new();
    let mut acked = BTreeMap::from([("main", BTreeSet::new()), ("second", BTreeSet::new())]);
    let mut id = 1;
    let mut since = 0;
    while channel.stats().segments_live < 4 || since < 8 {
        let count = 1 + dice.below(5);
        let receipt = put(&channel, id..id + count).expect("there is room");
        for n in 0..count {
            events.insert(receipt.first_seq + n, id + n);
        }
        id += count;
        since += u64::from(channel.stats().segments_live == 4);
        if dice.below(4) == 0 {
            let seen = ack(&channel, "second", 1 + dice.below(4) as usize);
            acked.get_mut("second").expect("known").extend(seen);
        }
        if dice.below(6) == 0 {
            lab.idle(&channel);
        }
    }
    lab.idle(&channel);
    drop(channel);
    let mut live = Vec::new();
    for path in lab.segments() {
        let found = blocks(&lab.fs.read_file(&path));
        if !found.is_empty() {
            live.push((path, found));
        }
    }
    assert_eq!(live.len(), 4);
    Filled { lab, events, acked, live }
}

/// What a damage may cost.
#[derive(Debug, Default, Clone)]
struct Cost {
    /// Seqs that are lost on every cursor that has not seen them.
    lost: BTreeSet<u64>,
    /// Whether acknowledgements are lost: what they named may come again.
    acks: bool,
}

impl Filled {
    /// What it costs to lose every block that stands between two offsets of a segment.
    fn cost(&self, segment: usize, from: u64, until: u64) -> Cost {
        let mut cost = Cost::default();
        for block in self.live[segment].1.iter().filter(|block| block.touches(from, until)) {
            if block.has(PUT) {
                cost.lost.extend(block.seqs.0..block.seqs.1);
            }
            cost.acks |= block.has(ACK);
        }
        cost
    }

    /// Opens a damaged copy, looks at everything, goes on, opens again.
    fn verify(&self, what: &str, lab: &Lab, cost: &Cost) {
        let before: BTreeMap<String, Vec<u8>> =
            lab.segments().iter().map(|path| (name_of(path), lab.fs.read_file(path))).collect();
        let channel = lab.open();
        let needed: BTreeSet<u64> =
            cost.lost.iter().copied().filter(|s| self.is_needed(*s)).collect();
        self.check_events(what, &channel, cost);
        let lost = losses(&channel);
        assert_eq!(named(&lost), needed, "{what}: the ledger names {lost:?}");
        let stats = channel.stats();
        assert_eq!(stats.lost_events, needed.len() as u64, "{what}: {lost:?}");
        for loss in &lost {
            let again = lost.iter().filter(|other| other.seqs.start < loss.seqs.end);
            let again = again.filter(|other| loss.seqs.start < other.seqs.end);
            assert!(loss.seqs.is_empty() || again.count() == 1, "{what}: twice in {lost:?}");
        }
        self.check_second_open(what, lab, channel, &before, &lost);
    }

    fn is_needed(&self, seq: u64) -> bool {
        self.acked.values().any(|acked| !acked.contains(&seq))
    }

    fn check_events(&self, what: &str, channel: &Channel, cost: &Cost) {
        for cursor in CURSORS {
            let seen = peek(channel, cursor);
            assert!(rises(&seen), "{what}: out of order");
            for (seq, id) in &seen {
                assert_eq!(self.events.get(seq), Some(id), "{what}: seq {seq} is another event");
            }
            let seen = seqs(&seen);
            let acked = &self.acked[cursor];
            let expected: BTreeSet<u64> = self.events.keys().copied().collect();
            let expected = &(&expected - acked) - &cost.lost;
            let missing: Vec<_> = expected.difference(&seen).collect();
            assert_eq!(missing, Vec::<&u64>::new(), "{what}: {cursor} does not get these");
            let more: BTreeSet<u64> = seen.difference(&expected).copied().collect();
            let again = more.iter().all(|seq| acked.contains(seq));
            assert!(more.is_empty() || (cost.acks && again), "{what}: {cursor} gets {more:?}");
        }
    }

    /// Goes on, drains, reclaims: the damaged bytes are in quarantine, and nothing is noticed twice.
    fn check_second_open(
        &self,
        what: &str,
        lab: &Lab,
        channel: Channel,
        before: &BTreeMap<String, Vec<u8>>,
        lost: &[Loss],
    ) {
        let next = self.events.values().max().expect("events") + 1;
        put(&channel, [next]).expect("it takes puts");
        lab.idle(&channel);
        drop(channel);
        let channel = lab.open();
        assert_eq!(losses(&channel), lost, "{what}: another loss at the second open");
        for cursor in CURSORS {
            let seen = drain(&channel, cursor);
            assert_eq!(seen.last().map(|last| last.1), Some(next), "{what}");
        }
        assert_eq!(losses(&channel), lost, "{what}: another loss while taking");
        lab.idle(&channel);
        lab.idle(&channel);
        assert_eq!(channel.stats().segments_live, 1, "{what}: not reclaimed");
        let kept = lab.quarantine();
        for loss in lost.iter().filter(|loss| loss.len_bytes > 0) {
            let name = format!("{:020}-{:010}.damaged", loss.segment, loss.offset_bytes);
            let (file, bytes) = before
                .iter()
                .find(|(_, bytes)| bytes.len() > 48 && u64_at(bytes, 32) == loss.segment)
                .or_else(|| before.get_key_value(&format!("{:020}.wal", loss.segment)))
                .expect("the segment of a loss");
            let (from, until) = (loss.offset_bytes, loss.offset_bytes + loss.len_bytes);
            let until = until.min(bytes.len() as u64);
            let Some(kept) = kept.get(&name) else {
                // It is the active one still.
                assert!(lab.fs.exists(format!("{DIR}/{file}")), "{what}: {name}");
                continue;
            };
            assert_eq!(kept[..], bytes[from as usize..until as usize], "{what}: {name}");
        }
        drop(channel);
        let channel = lab.open();
        assert_eq!(losses(&channel), lost, "{what}: another loss at the third open");
        assert!(peek(&channel, "main").is_empty() && peek(&channel, "second").is_empty());
    }
}

fn losses(channel: &Channel) -> Vec<Loss> {
    channel.stats().recent_losses
}

fn named(losses: &[Loss]) -> BTreeSet<u64> {
    losses.iter().flat_map(|loss| loss.seqs.start..loss.seqs.end).collect()
}

/// With the checkpoints and without: what costs something costs the same.
fn both_ways(filled: &Filled, what: &str, damage: impl Fn(&Lab), cost: &Cost) {
    for without in [false, true] {
        let lab = filled.lab.copy();
        if without {
            for name in ["checkpoint.a", "checkpoint.b"] {
                lab.fs.remove_quietly(format!("{DIR}/{name}"));
            }
        }
        damage(&lab);
        filled.verify(&format!("{what}, checkpoints gone: {without}"), &lab, cost);
    }
}

fn flip_each(which: impl Fn(&Block) -> bool, at: impl Fn(&Block) -> u64) {
    let filled = filled(11);
    for segment in 0..filled.live.len() {
        let Some(block) = filled.live[segment].1.iter().rfind(|block| which(block)).cloned() else {
            continue;
        };
        let path = filled.live[segment].0.clone();
        let place = at(&block);
        let cost = filled.cost(segment, place, place + 1);
        let what = format!("bit at {place} of {}", path.display());
        both_ways(&filled, &what, |lab| lab.fs.flip_bit(&path, place, 3), &cost);
    }
}

#[test]
fn p6_an_undamaged_channel_has_no_losses() {
    let filled = filled(11);
    both_ways(&filled, "nothing", |_| {}, &Cost::default());
}

#[test]
fn p6_a_flipped_bit_in_a_segment_header_costs_nothing() {
    let filled = filled(11);
    for (path, _) in &filled.live {
        for byte in [0, 9, 20, 33, 44, 50, 70, 90, 126, 2000] {
            let what = format!("byte {byte} of {}", path.display());
            both_ways(&filled, &what, |lab| lab.fs.flip_bit(path, byte, 5), &Cost::default());
        }
    }
}

#[test]
fn p6_a_flipped_bit_in_the_first_state_of_a_segment_costs_nothing() {
    flip_each(|block| block.offset == SECTOR, |block| block.offset + 300);
    flip_each(|block| block.offset == SECTOR, |block| block.offset + 60);
}

#[test]
fn p6_damage_of_both_states_of_a_segment_costs_nothing() {
    let filled = filled(11);
    for (path, found) in &filled.live {
        let copies: Vec<u64> = found.iter().take(2).map(|block| block.offset).collect();
        for inside in [3, 500] {
            let damage = |lab: &Lab| {
                copies.iter().for_each(|copy| lab.fs.flip_bit(path, copy + inside, 1));
            };
            let what = format!("both States of {}, byte {inside}", path.display());
            both_ways(&filled, &what, damage, &Cost::default());
        }
    }
}

#[test]
fn p6_a_flipped_bit_in_a_put_costs_its_block() {
    flip_each(|block| block.has(PUT), |block| block.offset + 7);
    flip_each(|block| block.has(PUT), |block| block.offset + 100);
    flip_each(|block| block.has(PUT), |block| block.offset + 250);
}

#[test]
fn p6_a_flipped_bit_in_padding_costs_nothing() {
    let filled = filled(11);
    for (segment, (path, found)) in filled.live.iter().enumerate() {
        let block = found.iter().find(|block| block.has(PUT)).expect("puts");
        let bytes = filled.lab.fs.read_file(path);
        let place = block.end() - 1;
        if bytes[place as usize] != 0 {
            continue;
        }
        let what = format!("padding in segment {segment}");
        both_ways(&filled, &what, |lab| lab.fs.flip_bit(path, place, 0), &Cost::default());
    }
}

#[test]
fn p6_a_flipped_bit_in_an_acknowledgement_costs_a_redelivery_at_most() {
    flip_each(|block| block.kinds == [ACK], |block| block.offset + 8);
    flip_each(|block| block.kinds == [ACK], |block| block.offset + 200);
}

#[test]
fn p6_a_flipped_bit_in_a_seal_costs_nothing() {
    flip_each(|block| block.has(SEAL), |block| block.offset + 8);
    flip_each(|block| block.has(SEAL), |block| block.offset + 195);
}

#[test]
fn p6_a_flipped_bit_in_a_watermark_costs_nothing() {
    flip_each(Block::is_watermark, |block| block.offset + 8);
}

#[test]
fn p6_random_bits_and_sectors_cost_what_they_hit() {
    crate::lab::for_seeds(60, |seed| {
        let filled = filled(seed % 5 + 20);
        let mut dice = Dice::new(seed);
        let lab = filled.lab.copy();
        let mut cost = Cost::default();
        let mut what = String::new();
        for _ in 0..=dice.below(3) {
            let segment = dice.below(4) as usize;
            let (path, found) = &filled.live[segment];
            let end = found.last().expect("blocks").end();
            let place = dice.below(end);
            let sector = place - place % SECTOR;
            let inside = found.iter().rfind(|block| block.offset <= place);
            let is_last = segment == 3 && inside.is_some_and(|block| block.end() == end);
            if is_last {
                continue;
            }
            let (from, until) = match dice.below(3) {
                0 => (sector, sector + SECTOR),
                1 => (sector, sector + 4 * SECTOR),
                _ => (place, place + 1),
            };
            let until = until.min(end);
            // The watermark at the end is what closes the window of the block before it.
            if segment == 3 && until == end {
                continue;
            }
            what += &format!("{from}..{until} of segment {segment}; ");
            if until - from == 1 {
                // Padding is covered by nothing and needed by nobody.
                let body_end = body_end(&filled, segment, place);
                lab.fs.flip_bit(path, place, 2);
                if place >= body_end {
                    continue;
                }
            } else {
                lab.fs.zero_sectors(path, from..until);
            }
            let more = filled.cost(segment, from, until);
            cost.lost.extend(more.lost);
            cost.acks |= more.acks;
        }
        filled.verify(&what, &lab, &cost);
    });
}

/// Where the bytes that a checksum covers end, in the block at a place.
fn body_end(filled: &Filled, segment: usize, place: u64) -> u64 {
    let (path, found) = &filled.live[segment];
    let Some(block) = found.iter().find(|block| block.touches(place, place + 1)) else {
        return u64::MAX;
    };
    let bytes = filled.lab.fs.read_file(path);
    let at = block.offset as usize + 108;
    let len = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    block.offset + 192 + u64::from(len)
}

#[test]
fn p6_a_zeroed_sector_at_each_place_costs_its_block() {
    let filled = filled(12);
    for (segment, (path, found)) in filled.live.iter().enumerate() {
        let last = found.last().expect("blocks");
        let end = if segment == 3 { last.offset } else { last.end() };
        let mut sector = 0;
        while sector < end {
            let cost = filled.cost(segment, sector, sector + SECTOR);
            let lab = filled.lab.copy();
            lab.fs.zero_sectors(path, sector..sector + SECTOR);
            let what = format!("zeroes at {sector} of segment {segment}");
            filled.verify(&what, &lab, &cost);
            sector += SECTOR * 3;
        }
    }
}

#[test]
fn p6_a_truncated_segment_costs_what_was_cut_off() {
    let filled = filled(13);
    for (segment, (path, found)) in filled.live.iter().enumerate().take(3) {
        let end = found.last().expect("blocks").end();
        for len in [0, 100, SECTOR, 3 * SECTOR + 5, end / 2, end - SECTOR, end] {
            let cost = filled.cost(segment, len - len % SECTOR, u64::MAX);
            let what = format!("segment {segment} cut to {len} bytes");
            both_ways(&filled, &what, |lab| lab.fs.truncate(path, len), &cost);
        }
    }
}

#[test]
fn p6_a_missing_segment_costs_what_was_in_it() {
    let filled = filled(14);
    for segment in 0..3 {
        let path = &filled.live[segment].0;
        let cost = filled.cost(segment, 0, u64::MAX);
        let what = format!("segment {segment} is gone");
        both_ways(&filled, &what, |lab| lab.fs.remove_quietly(path), &cost);
    }
}

/// The end of the log is gone and with it all that says how long it was: there is a line in the
/// ledger, what is delivered is right, and no seq is used twice.
fn verify_end(filled: &Filled, what: &str, lab: &Lab, from: u64) {
    let cost = filled.cost(3, from, u64::MAX);
    let lab = lab.clone();
    let channel = lab.open();
    filled.check_events(what, &channel, &Cost { acks: true, ..cost.clone() });
    let lost = losses(&channel);
    assert!(cost.lost.is_empty() || !lost.is_empty(), "{what}: without a word");
    let known = named(&lost);
    assert!(known.iter().all(|seq| cost.lost.contains(seq)), "{what}: {lost:?}");
    let receipt = put(&channel, [1_000_000]).expect("it takes puts");
    let last = filled.events.keys().next_back().expect("events");
    assert!(receipt.first_seq > *last, "{what}: seq {} is used again", receipt.first_seq);
    lab.idle(&channel);
    drop(channel);
    let channel = lab.open();
    assert_eq!(losses(&channel), lost, "{what}: another loss at the second open");
    for cursor in CURSORS {
        assert_eq!(drain(&channel, cursor).last().map(|last| last.1), Some(1_000_000), "{what}");
    }
}

fn end_both_ways(filled: &Filled, what: &str, from: u64, damage: impl Fn(&Lab)) {
    for without in [false, true] {
        let lab = filled.lab.copy();
        if without {
            for name in ["checkpoint.a", "checkpoint.b"] {
                lab.fs.remove_quietly(format!("{DIR}/{name}"));
            }
        }
        damage(&lab);
        verify_end(filled, &format!("{what}, checkpoints gone: {without}"), &lab, from);
    }
}

#[test]
fn p6_the_newest_segment_cut_short_is_told_and_no_seq_is_used_twice() {
    let filled = filled(13);
    let (path, found) = &filled.live[3];
    let end = found.last().expect("blocks").end();
    for len in [0, 100, SECTOR, 3 * SECTOR + 5, end / 2, end - SECTOR, end] {
        let what = format!("the newest segment cut to {len} bytes");
        end_both_ways(&filled, &what, len - len % SECTOR, |lab| lab.fs.truncate(path, len));
    }
}

#[test]
fn p6_the_newest_segment_gone_is_told_and_no_seq_is_used_twice() {
    for seed in 30..40 {
        let filled = filled(seed);
        let path = &filled.live[3].0;
        end_both_ways(&filled, "the newest is gone", 0, |lab| lab.fs.remove_quietly(path));
        let zero = |lab: &Lab| lab.fs.zero_sectors(path, 0..u64::MAX);
        end_both_ways(&filled, "the newest is zeroes", 0, zero);
    }
}

#[test]
fn p6_segments_with_exchanged_contents_or_names_cost_nothing() {
    let filled = filled(15);
    for (one, two) in [(0, 1), (1, 2), (0, 3), (2, 3)] {
        let (one, two) = (&filled.live[one].0, &filled.live[two].0);
        let exchange = |lab: &Lab| {
            let (first, second) = (lab.fs.read_file(one), lab.fs.read_file(two));
            lab.fs.write_file(one, &second);
            lab.fs.write_file(two, &first);
        };
        let what = format!("{} and {} exchanged", one.display(), two.display());
        verify_without_labels(&filled, &what, exchange);
    }
}

/// As `verify`, where files have other names than their ids.
fn verify_without_labels(filled: &Filled, what: &str, damage: impl Fn(&Lab)) {
    for without in [false, true] {
        let lab = filled.lab.copy();
        if without {
            lab.fs.remove_quietly(format!("{DIR}/checkpoint.a"));
            lab.fs.remove_quietly(format!("{DIR}/checkpoint.b"));
        }
        damage(&lab);
        filled.verify(what, &lab, &Cost::default());
    }
}

#[test]
fn p6_a_copy_of_a_segment_under_another_name_counts_once_and_is_kept() {
    let filled = filled(16);
    for (segment, (path, _)) in filled.live.iter().enumerate() {
        for label in [0, 77, 12_345] {
            let copy = format!("{DIR}/{label:020}.wal");
            let damage = |lab: &Lab| lab.fs.write_file(&copy, &lab.fs.read_file(path));
            let what = format!("segment {segment} is there as {label} too");
            verify_without_labels(&filled, &what, damage);
            let lab = filled.lab.copy();
            damage(&lab);
            drop(lab.open());
            let kept = lab.quarantine();
            assert_eq!(kept.len(), 1, "{what}: {:?} {:?}", lab.fs.paths(), lab.fs.op_log());
            let bytes = lab.fs.read_file(path);
            let kept = kept.values().next().expect("one");
            assert!(segment == 3 || kept[..] == bytes[..], "{what}");
        }
    }
}

#[test]
fn p6_p11_checkpoints_gone_or_damaged_cost_nothing() {
    let filled = filled(17);
    let names = ["a", "b"].map(|name| format!("{DIR}/checkpoint.{name}"));
    type Damage<'a> = Box<dyn Fn(&Lab) + 'a>;
    let damages: Vec<(&str, Damage<'_>)> = vec![
        ("one gone", Box::new(|lab| lab.fs.remove_quietly(&names[0]))),
        ("the other gone", Box::new(|lab| lab.fs.remove_quietly(&names[1]))),
        ("bits", Box::new(|lab| names.iter().for_each(|name| lab.fs.flip_bit(name, 70, 1)))),
        ("empty", Box::new(|lab| names.iter().for_each(|name| lab.fs.truncate(name, 0)))),
        ("short", Box::new(|lab| names.iter().for_each(|name| lab.fs.truncate(name, 99)))),
        (
            "noise",
            Box::new(|lab| names.iter().for_each(|name| lab.fs.write_file(name, &[7; 9999]))),
        ),
        (
            "exchanged",
            Box::new(|lab| {
                let (one, two) = (lab.fs.read_file(&names[0]), lab.fs.read_file(&names[1]));
                lab.fs.write_file(&names[0], &two);
                lab.fs.write_file(&names[1], &one);
            }),
        ),
    ];
    for (what, damage) in damages {
        let lab = filled.lab.copy();
        damage(&lab);
        filled.verify(&format!("checkpoints: {what}"), &lab, &Cost::default());
    }
}

#[test]
fn p6_an_old_segment_that_comes_back_is_not_believed() {
    // A copy of the directory's oldest segment, from before it was used again.
    let lab = Lab::new(5);
    let channel = lab.open();
    let mut id = 1;
    let mut old = BTreeMap::new();
    while channel.stats().written_bytes < 3 << 20 {
        put(&channel, id..id + 5).expect("there is room");
        id += 5;
        if id % 3 == 0 {
            for path in lab.segments() {
                old.entry(path.clone()).or_insert_with(|| lab.fs.read_file(&path));
            }
        }
        ack(&channel, "main", 5);
        ack(&channel, "second", 5);
        lab.idle(&channel);
    }
    put(&channel, id..id + 5).expect("there is room");
    lab.idle(&channel);
    drop(channel);
    let there = lab.segments();
    let gone: Vec<_> = old.iter().filter(|(path, _)| !there.contains(path)).collect();
    assert!(gone.len() > 3, "nothing went");
    for (path, bytes) in gone {
        let lab = lab.copy();
        lab.fs.write_file(path, bytes);
        let channel = lab.open();
        assert_eq!(losses(&channel), []);
        for cursor in CURSORS {
            let seen: Vec<u64> = peek(&channel, cursor).iter().map(|(_, id)| *id).collect();
            assert_eq!(seen, (id..id + 5).collect::<Vec<_>>(), "{}", path.display());
        }
    }
}

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
