//! One call to the disk fails, whichever it is: nothing acknowledged is lost, nothing comes twice,
//! and the channel goes on or says that it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_wal::fs::sim::{Call, Fault, Survive};
use forebay_wal::{Channel, Condition, ErrorKind, SyncClass};

use forebay_proof::lab::{Lab, ack, drain, for_seeds, peek, put, rises};
use forebay_proof::model::{Dice, id_of, options};

/// What the script did, as far as it was told.
#[derive(Debug, Default)]
struct Told {
    /// seq -> id of acknowledged puts.
    put: BTreeMap<u64, u64>,
    acked: BTreeSet<u64>,
    doubtful_puts: Vec<Vec<u64>>,
    doubtful_acks: Vec<Vec<u64>>,
    failed: usize,
    in_doubt: usize,
}

/// A few laps of puts, acknowledgements, checkpoints, idle times.
fn script(lab: &Lab, channel: &Channel, steps: u64, told: &mut Told) {
    let mut id = 1;
    for step in 0..steps {
        let ids: Vec<u64> = (id..id + 1 + step % 4).collect();
        id += ids.len() as u64;
        match put(channel, ids.iter().copied()) {
            Ok(receipt) => {
                for (n, id) in ids.iter().enumerate() {
                    let before = told.put.insert(receipt.first_seq + n as u64, *id);
                    assert_eq!(before, None, "a seq is given out twice");
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::InDoubt => {
                    told.in_doubt += 1;
                    told.doubtful_puts.push(ids);
                }
                ErrorKind::Failed => told.failed += 1,
                ErrorKind::Full => {}
                other => panic!("{other:?}: {error}"),
            },
        }
        if step % 3 == 1 {
            take(channel, 3 + step as usize % 7, told);
        }
        if step % 10 == 9 {
            lab.idle(channel);
        }
        if step % 25 == 24 {
            channel.checkpoint();
            channel.tend();
        }
    }
}

fn take(channel: &Channel, count: usize, told: &mut Told) {
    let Ok(mut take) = channel.take_transaction("main") else { return };
    // A read may fail; then the events come again.
    let Ok(taken) = take.take_many(count, usize::MAX) else { return };
    let ids: Vec<u64> = taken.iter().map(|taken| id_of(&taken.bytes)).collect();
    for (taken, id) in taken.iter().zip(&ids) {
        assert!(!told.acked.contains(id), "{id} comes again");
        assert_eq!(told.put.get(&taken.seq), Some(id), "what was not acknowledged is visible");
    }
    match take.commit() {
        Ok(_) => told.acked.extend(ids),
        Err(error) => match error.kind() {
            ErrorKind::InDoubt => {
                told.in_doubt += 1;
                told.doubtful_acks.push(ids);
            }
            ErrorKind::Failed => told.failed += 1,
            other => panic!("{other:?}: {error}"),
        },
    }
}

fn check(what: &str, channel: &Channel, told: &Told) {
    let seen = peek(channel, "main");
    assert!(rises(&seen), "{what}");
    let there: BTreeSet<u64> = seen.iter().map(|(_, id)| *id).collect();
    assert_eq!(there.len(), seen.len(), "{what}: something is there twice");
    for ids in told.doubtful_puts.iter().chain(&told.doubtful_acks) {
        let here = ids.iter().filter(|id| there.contains(id)).count();
        assert!(here == 0 || here == ids.len(), "{what}: half a transaction: {ids:?}");
    }
    let doubtful_acks: BTreeSet<u64> = told.doubtful_acks.iter().flatten().copied().collect();
    let doubtful_puts: BTreeSet<u64> = told.doubtful_puts.iter().flatten().copied().collect();
    for (seq, id) in &told.put {
        if told.acked.contains(id) {
            assert!(!there.contains(id), "{what}: {id} comes again");
        } else if !doubtful_acks.contains(id) {
            assert!(seen.contains(&(*seq, *id)), "{what}: {id} is lost");
        }
    }
    for (seq, id) in &seen {
        let known = told.put.get(seq) == Some(id) || doubtful_puts.contains(id);
        assert!(known, "{what}: {id} was not acknowledged and is there as {seq}");
    }
    assert_eq!(channel.stats().losses, 0, "{what}: {:?}", channel.stats().recent_losses);
}

fn started() -> (Lab, Channel, u64) {
    let lab = Lab::new(1).with(options(SyncClass::Commit));
    let channel = lab.open();
    channel.remove_cursor("second").expect("it is there");
    let first = lab.fs.ops();
    (lab, channel, first)
}

const STEPS: u64 = 130;

fn ops_of_script() -> (u64, Vec<String>) {
    let (lab, channel, first) = started();
    script(&lab, &channel, STEPS, &mut Told::default());
    (lab.fs.ops() - first, lab.fs.op_log().split_off(first as usize))
}

/// One fault at each place; then it goes on, then the process ends, or the power goes.
fn one_fault(fault: Fault, stride: u64) {
    let (ops, log) = ops_of_script();
    let mut ended = Vec::new();
    for n in (0..ops).step_by(stride as usize) {
        let (lab, channel, first) = started();
        lab.fs.fail_at(first + n, fault);
        let mut told = Told::default();
        script(&lab, &channel, STEPS, &mut told);
        let what = format!("{fault:?} at {n}, {}", log[n as usize]);
        assert_eq!(told.in_doubt, 0, "{what}: one failure leaves no doubt");
        if channel.stats().condition == Condition::Failed {
            ended.push(what.clone());
        } else {
            check(&what, &channel, &told);
            lab.idle(&channel);
            let counted = channel.stats().bytes + 2 * 24_576 + 8192;
            let bytes = lab.allocated_bytes();
            assert!(bytes <= counted, "{what}: {bytes} bytes are there, {counted} are counted");
            let segments = lab.segments().len() as u64 * (128 << 10);
            assert_eq!(segments, channel.stats().bytes, "{what}: {:?}", channel.stats().trouble);
        }
        let bytes = lab.allocated_bytes();
        assert!(bytes <= 1 << 20, "{what}: {bytes} bytes are allocated");
        drop(channel);
        let outcomes = [Survive::Nothing, Survive::Everything, Survive::Seed(n)];
        for survive in outcomes {
            let cut = lab.on(lab.fs.image(survive));
            check(&format!("{what}, {survive:?}"), &cut.open(), &told);
        }
        let lab = lab.on(lab.fs.kill());
        let channel = lab.open();
        check(&format!("{what}, killed"), &channel, &told);
        let bytes = lab.allocated_bytes();
        assert!(bytes <= 1 << 20, "{what}: {bytes} bytes are allocated after opening");
    }
    assert!(ended.is_empty(), "one failure ended the channel: {ended:#?}");
}

#[test]
fn p10_one_failed_call_of_any_kind_loses_nothing() {
    one_fault(Fault::Eio, 1);
}

#[test]
fn p10_one_failed_sync_loses_nothing() {
    one_fault(Fault::SyncFails, 4);
}

#[test]
fn p10_one_sync_that_fails_in_part_loses_nothing() {
    one_fault(Fault::SyncFailsInPart, 4);
}

#[test]
fn p10_one_short_write_loses_nothing() {
    one_fault(Fault::ShortWrite, 5);
}

#[test]
fn p9_one_full_disk_loses_nothing() {
    one_fault(Fault::Enospc, 5);
}

#[test]
fn p1_p10_a_failure_and_a_power_cut_soon_after_lose_nothing() {
    for_seeds(150, |seed| {
        let mut dice = Dice::new(seed);
        let (ops, _) = ops_of_script();
        let (lab, channel, first) = started();
        let fault = [Fault::Eio, Fault::SyncFails, Fault::SyncFailsInPart][dice.below(3) as usize];
        let n = dice.below(ops);
        lab.fs.fail_at(first + n, fault);
        lab.fs.crash_at(first + n + 1 + dice.below(20));
        let mut told = Told::default();
        script_until_crash(&lab, &channel, &mut told);
        drop(channel);
        let lab = lab.on(lab.fs.crash(Survive::Seed(dice.any())));
        check(&format!("{fault:?} at {n}"), &lab.open(), &told);
    });
}

/// As `script`, where the outcome of what was under way at the crash is open.
fn script_until_crash(lab: &Lab, channel: &Channel, told: &mut Told) {
    let mut id = 1;
    for step in 0..STEPS {
        let ids: Vec<u64> = (id..id + 1 + step % 4).collect();
        id += ids.len() as u64;
        match put(channel, ids.iter().copied()) {
            Ok(receipt) => {
                let seqs = receipt.first_seq..;
                told.put.extend(seqs.zip(ids));
            }
            Err(_) => told.doubtful_puts.push(ids),
        }
        if lab.fs.is_crashed() {
            return;
        }
        if step % 3 == 1 {
            let Ok(mut take) = channel.take_transaction("main") else { return };
            let Ok(taken) = take.take_many(3 + step as usize % 7, usize::MAX) else { continue };
            let ids: Vec<u64> = taken.iter().map(|taken| id_of(&taken.bytes)).collect();
            match take.commit() {
                Ok(_) => told.acked.extend(ids),
                Err(_) => told.doubtful_acks.push(ids),
            }
        }
        if step % 10 == 9 {
            lab.idle(channel);
        }
    }
}

#[test]
fn p10_a_disk_that_fails_for_good_ends_the_channel_and_it_opens_again_later() {
    let (ops, log) = ops_of_script();
    for n in (0..ops).step_by(7) {
        let (lab, channel, first) = started();
        lab.fs.fail_from(first + n, Fault::Eio);
        let mut told = Told::default();
        script(&lab, &channel, STEPS, &mut told);
        let what = format!("all fail from {n}, {}", log[n as usize]);
        assert!(told.in_doubt <= 1, "{what}: {} in doubt", told.in_doubt);
        assert!(told.failed > 0 || n + 40 > ops, "{what}: nobody was told");
        if told.failed == 0 {
            let _ = put(&channel, [9_999_999]).expect_err(&what);
            told.doubtful_puts.push(vec![9_999_999]);
        }
        lab.fs.heal();
        assert_eq!(put(&channel, [9]).expect_err(&what).kind(), ErrorKind::Failed);
        drop(channel);
        for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(n)] {
            let cut = lab.on(lab.fs.image(survive));
            check(&format!("{what}, {survive:?}"), &cut.open(), &told);
        }
        let lab = lab.on(lab.fs.kill());
        let channel = lab.open();
        check(&format!("{what}, killed"), &channel, &told);
        put(&channel, [777]).expect("it goes on");
    }
}

#[test]
fn p10_an_open_that_fails_anywhere_leaves_what_it_found() {
    let (lab, channel, _) = started();
    let mut told = Told::default();
    script(&lab, &channel, 60, &mut told);
    drop(channel);
    let trial = lab.copy();
    let first = trial.fs.ops();
    drop(trial.open());
    let ops = trial.fs.ops() - first;
    for n in 0..ops {
        for fault in [Fault::Eio, Fault::SyncFails, Fault::Enospc] {
            let lab = lab.copy();
            lab.fs.fail_at(lab.fs.ops() + n, fault);
            let what = format!("open with {fault:?} at {n}");
            match lab.try_open() {
                Ok(channel) => check(&what, &channel, &told),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}"),
            }
            for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(n)] {
                let cut = lab.on(lab.fs.image(survive));
                check(&format!("{what}, then {survive:?}"), &cut.open(), &told);
            }
            let lab = lab.on(lab.fs.kill());
            check(&format!("{what}, then killed"), &lab.open(), &told);
            assert!(lab.allocated_bytes() <= 1 << 20, "{what}");
        }
    }
}

/// A weaker class with four synced events and three that are not, and a disk that fails next.
fn unsynced(sync: SyncClass) -> (Lab, Channel) {
    let lab = Lab::new(4).with(options(sync));
    let channel = lab.open();
    put(&channel, 1..5).expect("room");
    lab.idle(&channel);
    // The first one is synced at once, as the time has come.
    put(&channel, [5]).expect("room");
    put(&channel, 6..9).expect("room");
    (lab, channel)
}

fn ids(channel: &Channel, cursor: &str) -> Vec<u64> {
    peek(channel, cursor).iter().map(|(_, id)| *id).collect()
}

#[test]
fn p10_an_interval_sync_that_fails_loses_nothing() {
    for fault in [Fault::SyncFails, Fault::SyncFailsInPart, Fault::Eio] {
        let (lab, channel) = unsynced(SyncClass::Interval(Duration::from_millis(100)));
        ack(&channel, "main", 6);
        lab.fs.fail_at(lab.fs.ops(), fault);
        lab.idle(&channel);
        assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
        assert!(channel.stats().generation > 1, "it never failed");
        // All of that is synced now.
        let cut = lab.on(lab.fs.image(Survive::Nothing)).open();
        assert_eq!(ids(&cut, "main"), [7, 8]);
        assert_eq!(ids(&cut, "second"), [1, 2, 3, 4, 5, 6, 7, 8]);
        put(&channel, 9..11).expect("it goes on");
        lab.idle(&channel);
        assert_eq!(ids(&channel, "main"), [7, 8, 9, 10]);
        drop(channel);
        let channel = lab.on(lab.fs.crash(Survive::Nothing)).open();
        assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
        assert_eq!(ids(&channel, "main"), [7, 8, 9, 10]);
    }
}

#[test]
fn p10_a_write_that_fails_after_others_that_are_not_synced_loses_nothing() {
    for sync in [SyncClass::Interval(Duration::from_secs(9)), SyncClass::Os] {
        for fault in [Fault::Eio, Fault::Enospc] {
            let (lab, channel) = unsynced(sync);
            lab.fs.fail_at(lab.fs.ops(), fault);
            put(&channel, 9..11).expect("it goes on elsewhere");
            assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
            let cut = lab.on(lab.fs.image(Survive::Nothing)).open();
            let seen = ids(&cut, "main");
            assert_eq!(seen[..8], [1, 2, 3, 4, 5, 6, 7, 8], "{sync:?} {fault:?}");
            assert_eq!(ids(&channel, "main"), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        }
    }
}

/// What the owner says, and what who looks from outside is told.
fn says(lab: &Lab, channel: &Channel) -> (Condition, u64, String) {
    channel.tend();
    let (stats, seen) = (channel.stats(), lab.inspect());
    assert_eq!((stats.condition, stats.poisoned), (seen.condition, seen.poisoned));
    assert_eq!(stats.why.or(stats.trouble), seen.why);
    (seen.condition, seen.poisoned, seen.why.unwrap_or_default())
}

#[test]
fn p9_p10_the_channel_says_whether_it_is_open_full_poisoned_or_read_only() {
    let (lab, channel, _) = started();
    put(&channel, [1]).expect("room");
    assert_eq!(says(&lab, &channel), (Condition::Open, 0, String::new()));

    lab.fs.fail_nth(Call::SyncData, 0, Fault::SyncFails);
    put(&channel, [2]).expect("it went on elsewhere");
    let (condition, poisoned, trouble) = says(&lab, &channel);
    assert_eq!((condition, poisoned), (Condition::Open, 1));
    assert!(
        trouble.contains("00001.wal is poisoned") && trouble.contains("os error 5"),
        "{trouble}"
    );

    let mut id = 3;
    while put(&channel, [id]).is_ok() {
        id += 1;
    }
    let (condition, poisoned, why) = says(&lab, &channel);
    assert_eq!((condition, poisoned), (Condition::Full, 1));
    assert!(why.contains("cursor \"main\" has") && why.contains("the oldest is seq 1"), "{why}");
    drain(&channel, "main");
    lab.idle(&channel);
    put(&channel, [id]).expect("room again");
    assert_eq!(says(&lab, &channel).0, Condition::Open);

    lab.fs.fail_nth_and_later(Call::SyncData, 0, Fault::SyncFails);
    assert_eq!(put(&channel, [id + 1]).expect_err("no sync").kind(), ErrorKind::InDoubt);
    lab.fs.heal();
    let (condition, poisoned, why) = says(&lab, &channel);
    assert_eq!((condition, poisoned), (Condition::Failed, 2));
    assert_eq!(condition.word(), "read-only");
    assert!(why.contains("os error 5") && why.contains("opened again"), "{why}");

    drop(channel);
    assert_eq!(lab.inspect().condition, Condition::Closed);
    let channel = lab.open();
    assert_eq!(says(&lab, &channel), (Condition::Open, 0, String::new()));
}

#[test]
fn p6_p10_what_a_failed_sync_took_out_of_the_cache_is_named_and_the_rest_is_kept() {
    let (mut with_losses, mut kept) = (0, 0);
    for seed in 1..60 {
        let lab = Lab::new(seed).with(options(SyncClass::Os));
        let channel = lab.open();
        put(&channel, [1]).expect("room");
        ack(&channel, "main", 1);
        drop(channel);
        let channel = lab.open();
        // A roll syncs what is there, and finds that it cannot.
        lab.fs.fail_nth(Call::SyncData, 0, Fault::SyncReverts);
        let mut id = 10;
        while channel.stats().poisoned == 0 {
            put(&channel, [id]).expect("room");
            id += 1;
        }
        let all: BTreeSet<u64> = [1].into_iter().chain(10..id).collect();
        let missing = |channel: &Channel, cursor: &str| -> BTreeSet<u64> {
            let seen = peek(channel, cursor);
            assert!(rises(&seen), "seed {seed}");
            let seen: BTreeSet<u64> = seen.iter().map(|(_, id)| *id).collect();
            all.difference(&seen).copied().collect()
        };
        let lost = missing(&channel, "second");
        assert_eq!(channel.stats().lost_events, lost.len() as u64, "seed {seed}: {lost:?}");
        with_losses += usize::from(!lost.is_empty());
        kept += all.len() - lost.len();
        // What was acknowledged is so for good, and what was kept is synced.
        let mut of_main = lost.clone();
        of_main.insert(1);
        assert_eq!(missing(&channel, "main"), of_main, "seed {seed}");
        drop(channel);
        let channel = lab.on(lab.fs.kill()).open();
        assert_eq!(missing(&channel, "second"), lost, "seed {seed}");
        assert_eq!(missing(&channel, "main"), of_main, "seed {seed}");
        assert_eq!(channel.stats().lost_events, lost.len() as u64, "seed {seed}");
    }
    assert!(with_losses > 20 && kept > 100, "{with_losses} with losses, {kept} kept");
}
