//! Power cuts at every moment of random lives of a channel, against a plain model.

use std::collections::BTreeMap;

use forebay_proof::lab::{for_seeds, u64_at};
use forebay_proof::life::Life;
use forebay_proof::script::{Class, Op, Recipe, Script};
use forebay_proof::shrink::shrink;
use forebay_wal::fs::sim::Fault;

#[test]
fn p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut() {
    for_seeds(300, |seed| {
        let recipe = Recipe { faults: false, ..Recipe::wild(150) };
        Script::random(seed, Class::Commit, recipe).check();
    });
}

#[test]
fn p1_p10_power_cuts_and_failures_of_the_disk_together_take_nothing() {
    for_seeds(200, |seed| Script::random(seed, Class::Commit, Recipe::wild(100)).check());
}

#[test]
fn p2_p3_p4_p6_in_the_weaker_classes_they_take_an_end_that_was_not_synced() {
    for_seeds(120, |seed| {
        Script::random(seed, Class::Interval, Recipe::wild(80)).check();
        Script::random(seed, Class::Os, Recipe::wild(80)).check();
    });
}

#[test]
fn p1_p5_any_bytes_are_a_script_that_holds() {
    for_seeds(200, |seed| {
        let mut dice = forebay_proof::model::Dice::new(seed);
        let len = dice.below(300);
        let bytes: Vec<u8> = (0..len).map(|_| dice.any() as u8).collect();
        let script = Script::from_bytes(&bytes);
        assert_eq!(script, Script::from_bytes(&bytes));
        assert!(script.ops.len() <= 64);
        script.check();
    });
}

#[test]
fn equal_seeds_live_equal_lives() {
    for seed in 1..20 {
        let live = || {
            let mut script = Script::random(seed, Class::Commit, Recipe::wild(40));
            // The trace begins anew when the disk ends.
            script.ops.retain(|op| !matches!(op, Op::CrashAt { .. } | Op::KillAt { .. }));
            let mut life = Life::new(script.seed, script.class);
            script.run_in(&mut life).expect("it holds");
            let paths = life.lab.fs.paths().into_iter();
            let image: Vec<_> = paths.map(|path| (life.lab.fs.read_file(&path), path)).collect();
            (life.report, life.lab.fs.op_log(), life.lab.fs.unsynced(), image)
        };
        let (one, two) = (live(), live());
        assert!(one == two, "seed {seed} lives two lives");
        assert!(one.1.len() > 5, "{:?}", one.1);
    }
}

/// A disk that lies about its syncs breaks the promises: the scripts notice, and what notices it
/// is short in the end.
#[test]
fn a_disk_that_lies_is_found_out_and_the_script_shrinks() {
    let mut found = 0;
    for seed in 1..12 {
        let recipe = Recipe { faults: false, kills: false, ..Recipe::wild(40) };
        let mut script = Script::random(seed, Class::Commit, recipe);
        script.ops.insert(0, Op::FailFrom { ops: 40, fault: Fault::SyncLies });
        let Err(violation) = script.run() else { continue };
        let short = shrink(&violation);
        assert!(short.script.ops.len() <= 5, "{short}");
        assert!(short.script.run().is_err(), "it does not fail any more: {short}");
        assert_eq!(shrink(&violation).to_string(), short.to_string());
        found += 1;
    }
    assert!(found >= 3, "{found} of 11 lives noticed it");
}

// Scripts that found something once, as they were printed.

/// A cursor made at the oldest event took what had been reclaimed for lost.
#[test]
fn p6_a_new_cursor_does_not_take_reclaimed_segments_for_lost() {
    use forebay_proof::script::{Class, Op::*, Script};
    let ops = vec![
        Roll,
        Begin { bytes: 0 },
        CommitPut { put: 0 },
        Reopen,
        Put { events: 5, bytes: 5019, position: None, producer: None },
        Take { cursor: 1, events: 1 },
        Take { cursor: 2, events: 4 },
        Reclaim,
        Ack { take: 3 },
        Checkpoint,
        AddCursor { cursor: 3, oldest: true },
    ];
    Script { seed: 684, class: Class::Commit, ops }.check();
}

/// The segment that a new cursor should have begun in went when its own record had no room in the
/// log's end: it took living events for lost, and from the other cursors too.
#[test]
fn p1_p6_a_new_cursor_whose_record_rolls_the_log_begins_behind_what_that_frees() {
    use forebay_proof::script::{Class, Op::*, Script};
    for puts in 0..8 {
        let put = Put { events: 1, bytes: 0, position: None, producer: None };
        let mut ops = vec![Roll, Take { cursor: 0, events: 3 }, Ack { take: 0 }];
        ops.extend([Take { cursor: 1, events: 3 }, Ack { take: 0 }]);
        ops.extend([Put { events: 1, bytes: 31_000, position: None, producer: None }; 2]);
        ops.extend(std::iter::repeat_n(put, puts));
        ops.push(AddCursor { cursor: 2, oldest: true });
        Script { seed: 1, class: Class::Commit, ops }.check();
    }
}

/// The name of a new channel's first segment, whose sync failed, was relied on by the next open.
#[test]
fn p1_a_name_whose_sync_failed_is_not_relied_on() {
    use forebay_proof::script::{Class, Op::*, Script};
    use forebay_wal::fs::sim::{Fault::*, Survive::*};
    for fault in [Eio, SyncFails, SyncFailsInPart] {
        for ops in 0..45 {
            let put = Put { events: 1, bytes: 0, position: None, producer: None };
            let ops = vec![FailAt { ops, fault }, put, put, Crash { survive: Nothing }];
            Script { seed: 27930, class: Class::Commit, ops }.check();
        }
    }
}

/// Blocks of an earlier lap are told apart by the salt, even should an id ever come twice.
#[test]
fn p6_every_lap_of_a_segment_has_a_salt_of_its_own() {
    let mut life = Life::new(5, Class::Commit);
    let mut salts: BTreeMap<u64, u64> = BTreeMap::new();
    for op in [Op::Roll, Op::Reclaim, Op::Roll, Op::Idle, Op::Reclaim, Op::Reopen].repeat(5) {
        life.step(&op).expect("nothing fails");
        for path in life.lab.segments() {
            let bytes = life.lab.fs.read_file(&path);
            let (id, salt) = (u64_at(&bytes, 32), u64_at(&bytes, 40));
            assert_eq!(*salts.entry(salt).or_insert(id), id, "two segments with one salt");
        }
    }
    assert!(salts.len() > 8, "{salts:?}: they did not go round");
}

/// Opens that fail write States into a spare, further on each time; what one of them leaves far
/// behind the spare's head must not void what is acknowledged in it later.
#[test]
fn p1_what_failed_opens_leave_in_a_spare_voids_nothing() {
    use forebay_proof::script::{Class, Op::*, Script};
    use forebay_wal::fs::sim::{Fault::*, Survive::*};
    for failed_opens in 1..12 {
        let put = Put { events: 1, bytes: 0, position: None, producer: None };
        let mut ops = vec![put, FailFrom { ops: 0, fault: SyncFails }, put];
        ops.extend(std::iter::repeat_n(Reopen, failed_opens));
        ops.extend([CrashAt { ops: 4, survive: Everything }, Reopen, Reopen]);
        ops.extend([FailAt { ops: 0, fault: Eio }, put, Reopen]);
        Script { seed: 24768, class: Class::Commit, ops }.check();
    }
}

/// A torn block had kept its header, and of the next generation's States only the second had come
/// through: the header stood inside of the log, and readers passed over what it claimed to hold.
#[test]
fn p1_p6_a_torn_header_that_outlives_the_next_generation_hides_nothing() {
    use forebay_proof::script::{Class, Op::*, Script};
    use forebay_wal::fs::sim::Survive::*;
    let ops = vec![
        Put { events: 5, bytes: 4860, position: None, producer: None },
        CrashAt { ops: 13, survive: Nothing },
        Reclaim,
        Put { events: 1, bytes: 0, position: None, producer: None },
        Put { events: 1, bytes: 0, position: None, producer: None },
        CrashAt { ops: 7, survive: Seed(2) },
        Roll,
        Put { events: 1, bytes: 0, position: None, producer: None },
        CrashAt { ops: 7, survive: AllBut(0) },
        Put { events: 1, bytes: 0, position: None, producer: None },
        Put { events: 1, bytes: 0, position: None, producer: None },
    ];
    Script { seed: 137302, class: Class::Interval, ops }.check();
}

/// The torn State of an open that was cut short made the State before it void, and with it the
/// reservation of seqs that had been given out.
#[test]
fn p4_a_torn_state_leaves_the_reservation_of_the_one_before() {
    use forebay_proof::script::{Class, Op::*, Script};
    use forebay_wal::fs::sim::Survive::*;
    let ops = vec![
        Put { events: 1, bytes: 0, position: Some(0), producer: Some(0) },
        Put { events: 1, bytes: 0, position: Some(2), producer: Some(2) },
        Reopen,
        Put { events: 1, bytes: 0, position: None, producer: None },
        Crash { survive: Nothing },
        CrashAt { ops: 6, survive: Seed(499482) },
        Take { cursor: 0, events: 1 },
    ];
    Script { seed: 123111, class: Class::Os, ops }.check();
}

/// One put of one small event.
fn one() -> Op {
    Op::Put { events: 1, bytes: 0, position: None, producer: None }
}

/// A failed open's State stood in the cache where the medium had a torn block's header, and an old
/// block behind it, which the medium did have, vouched for it.
#[test]
fn p1_p6_an_older_block_on_the_medium_vouches_for_no_later_state() {
    use forebay_proof::script::Op::*;
    use forebay_wal::fs::sim::Fault::*;
    use forebay_wal::fs::sim::Survive::*;
    let fail = FailAt { ops: 6, fault: Eio };
    let (torn, gone) = (Crash { survive: Seed(2) }, Crash { survive: Nothing });
    let ops = vec![Roll, one(), torn, fail, Take { cursor: 0, events: 1 }, Tend, gone, Roll];
    Script { seed: 252495, class: Class::Os, ops }.check();
    let ops = vec![
        Put { events: 3, bytes: 7809, position: None, producer: None },
        Put { events: 4, bytes: 0, position: None, producer: Some(1) },
        Crash { survive: Seed(73715) },
        FailAt { ops: 6, fault: Enospc },
        Put { events: 3, bytes: 33, position: None, producer: None },
        Ack { take: 1 },
        CrashAt { ops: 1, survive: Nothing },
        Put { events: 2, bytes: 0, position: Some(2), producer: None },
        Put { events: 2, bytes: 113, position: Some(0), producer: None },
        Repeat { producer: 1 },
    ];
    Script { seed: 112710, class: Class::Interval, ops }.check();
}

/// The name of a spare that a process could neither make durable nor take back.
#[test]
fn p1_a_spare_of_another_process_gets_a_name_of_its_own() {
    use forebay_proof::script::Op::*;
    use forebay_wal::fs::sim::Fault::*;
    use forebay_wal::fs::sim::Survive::*;
    let fail = FailFrom { ops: 9, fault: Enospc };
    let gone = Crash { survive: Nothing };
    let ops = vec![fail, Add { put: 0, bytes: 0 }, Kill, Roll, gone];
    Script { seed: 353451, class: Class::Commit, ops }.check();
    let ops = vec![fail, one(), Heal, Roll, gone];
    Script { seed: 310338, class: Class::Commit, ops }.check();
    let ops = vec![FailFrom { ops: 9, fault: Eio }, one(), Kill, Checkpoint, gone];
    Script { seed: 69300, class: Class::Commit, ops }.check();
}

/// What a put in doubt had left is settled, and the ledger does not name what never was.
#[test]
fn p6_what_failed_syncs_left_in_part_is_no_loss_of_what_was_acknowledged() {
    use forebay_proof::script::Op::*;
    use forebay_wal::fs::sim::Fault::*;
    use forebay_wal::fs::sim::Survive::*;
    let gone = Crash { survive: Nothing };
    let put = |position, producer| Put { events: 1, bytes: 0, position, producer };
    let ops = vec![
        one(),
        Begin { bytes: 0 },
        Take { cursor: 0, events: 1 },
        one(),
        Take { cursor: 0, events: 1 },
        put(None, Some(0)),
        CrashAt { ops: 41, survive: Nothing },
        one(),
        CommitPut { put: 0 },
        put(None, Some(1)),
        Ack { take: 0 },
        Ack { take: 0 },
        FailFrom { ops: 0, fault: SyncFailsInPart },
        FailFrom { ops: 10, fault: ShortWrite },
        Tend,
        one(),
        Reopen,
    ];
    Script { seed: 54411, class: Class::Commit, ops }.check();
    let ops = vec![
        one(),
        put(None, Some(0)),
        Take { cursor: 0, events: 1 },
        one(),
        Ack { take: 0 },
        FailFrom { ops: 4, fault: SyncFailsInPart },
        put(Some(1), None),
        one(),
        Take { cursor: 0, events: 1 },
        Ack { take: 0 },
        Kill,
        one(),
        gone,
    ];
    Script { seed: 242532, class: Class::Commit, ops }.check();
    let ops = vec![
        put(Some(0), Some(2)),
        Roll,
        FailFrom { ops: 0, fault: SyncFailsInPart },
        one(),
        Kill,
        CrashAt { ops: 9, survive: Nothing },
        one(),
    ];
    Script { seed: 351549, class: Class::Commit, ops }.check();
}
