//! The probes that break the file channel of Apache Flume 1.11, each as a test of this one.
//!
//! Flume's weaknesses are numbered W1 to W35, the probes that show them 1 to 11, Roll and Eio. Tests
//! without a file's name stand here.
//!
//! | weakness of Flume's channel | probes | answered by |
//! | --- | --- | --- |
//! | W1 a torn tail stops the start | 1a, 1b, 1c | `p2_p7_a_torn_end_of_any_shape_...` |
//! | W2 a bad byte hides the rest of the file | 2 | `p6_one_changed_byte_among_a_thousand_events_...` |
//! | W3 a replay that drops what does not fit | 4, 4b | `p7_a_smaller_limit_at_reopen_drops_nothing` |
//! | W4 the weaker class syncs each commit all the same | | `the_weaker_classes_sync_less_...` |
//! | W5 a failed sync is tried again, and "succeeds" | | `p10_no_file_is_touched_again_after_its_sync_failed` |
//! | W5b an ack while another file's sync is pending | Roll | `p1_no_block_is_written_while_...`, `p1_the_power_goes_...` |
//! | W6 what failed comes back beside its repeat | Eio | `p4_p10_a_put_repeated_after_a_failed_sync_...` |
//! | W7 directories are not synced | | `p1_a_first_commit_in_a_new_file_...` |
//! | W8 recovery looks for the wrong names | | unit tests of `names.rs`; `failing_calls.rs` cuts between all renames |
//! | W9 checksums cover the body alone | 10 | `tests/it/flume_probes.rs` of the agent, `damage.rs` here |
//! | W10 zeroes are a legal operation | 3 | `p6_a_zeroed_page_costs_what_stood_in_it` |
//! | W11 one corrupt event closes the channel | | `p6_one_corrupt_event_does_not_close_the_channel` |
//! | W12 the checkpoint is changed in place | | `damaged_files.rs`: `p6_p11_checkpoints_gone_or_damaged_...` |
//! | W13 order is lost after a restart | 6, 7 | `p3_open_takes_come_back_in_order_...`, `p3_a_put_across_a_checkpoint_...` |
//! | W14 fast replay with encryption cannot start | 9 | no counterpart: nothing is encrypted yet |
//! | W15 encryption repeats its key stream | 8 | no counterpart: nothing is encrypted yet |
//! | W16 a lock over write and sync | | `threads.rs`: `p1_many_threads_share_their_syncs` |
//! | W17 takes wait for the syncs of puts | | an ack waits for its own sync here too, and shares it with puts: `in_doubt.rs` has both in one group |
//! | W18 many small system calls | | the agent's `syscalls.rs`: one write and one sync a commit |
//! | W19 every byte is written twice | | `p8_what_is_written_does_not_grow_...`; spares are written ahead once, not each lap |
//! | W20 the checkpoint stops the world | | `p8_what_is_written_does_not_grow_...`: its cost does not grow with the backlog |
//! | W21, W22 fair locks, one lock for the queue | | no counterpart: a matter of speed, which `benches` measures |
//! | W23 memory per event | | the agent's `backlog.rs`: `p8_p11_five_million_events_...` |
//! | W24 capacity in events, fixed | | `limits.rs`: bytes are the limit, and it may be changed at each open |
//! | W25 time to open grows with the backlog | | `p8_what_open_reads_does_not_grow_with_the_backlog` |
//! | W26 the fast replay is the slower one | | no counterpart: there is one replay |
//! | W27 replay is quadratic in held events | | `p8_what_is_written_does_not_grow_...`, `p8_what_open_reads_...` |
//! | W28 one old event pins all later files | 11 | `p9_one_held_event_pins_one_segment_...` |
//! | W29 a full disk cannot be drained | 5 | `p9_a_backlog_on_a_full_disk_opens_and_drains` |
//! | W30 a failed start leaks its locks | 1 to 5 | `p7_a_failed_open_leaks_no_lock` |
//! | W31 space is held until takes commit | | the same here, on purpose; `limits.rs`: puts wait in line and are refused in time |
//! | W32 settings that do not take effect in silence | | `limits.rs`: `p9_a_lowered_limit_...`, `p9_the_event_limit_...` |
//! | W33 several channels are not one transaction | | no counterpart: a source that repeats does so to all its channels |
//! | W34 counters that the wall clock seeds | | `p3_p4_a_wall_clock_that_jumps_back_...` |
//! | W35 a buffer that all channels share | | no counterpart: nothing is static |

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_wal::fs::sim::{Call, Fault, SimFs, Survive};
use forebay_wal::{Background, Channel, Condition, ErrorKind, Options, SyncClass};

use forebay_proof::lab::{Block, Lab, PUT, ack, blocks, drain, peek, put, rises};
use forebay_proof::model::{DIR, event};

use crate::story::Story;

fn plain(bytes_max: u64) -> Options {
    Options::new()
        .bytes_max(bytes_max)
        .background(Background::Manual)
        .put_timeout(Duration::ZERO)
        .checkpoint_bytes(256 << 10)
        .cursor("main")
}

/// Puts events, each committed by itself.
fn put_each(channel: &Channel, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        put(channel, [id]).expect("room");
    }
}

/// A channel with a thousand events, each committed by itself.
fn thousand() -> Lab {
    let lab = Lab::new(11).with(plain(16 << 20));
    let channel = lab.open();
    put_each(&channel, 1..=1000);
    lab.idle(&channel);
    lab
}

fn ids(channel: &Channel, cursor: &str) -> Vec<u64> {
    let seen = peek(channel, cursor);
    assert!(rises(&seen), "out of order");
    seen.iter().map(|(_, id)| *id).collect()
}

fn without_checkpoints(lab: &Lab) {
    for name in ["checkpoint.a", "checkpoint.b"] {
        lab.fs.remove_quietly(format!("{DIR}/{name}"));
    }
}

/// W1, probes 1a to 1c: a record whose beginning reached the disk and whose rest did not.
#[test]
fn p2_p7_a_torn_end_of_any_shape_opens_with_all_committed_events() {
    let lab = thousand();
    let channel = lab.open();
    let ops = lab.fs.ops();
    // Many sectors, so that there is much to be torn.
    lab.fs.crash_at(ops + 1);
    put(&channel, 2001..2031).expect_err("the power went before the sync");
    assert!(lab.fs.op_log()[ops as usize].starts_with("write"));
    drop(channel);
    let (mut whole, mut gone) = (0, 0);
    for seed in 0..60 {
        let cut = lab.on(lab.fs.crash(Survive::Seed(seed)));
        let channel = cut.open();
        let seen = ids(&channel, "main");
        assert_eq!(seen[..1000], (1..=1000).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(channel.stats().losses, 0, "seed {seed}");
        match &seen[1000..] {
            [] => gone += 1,
            rest => {
                assert_eq!(rest, (2001..2031).collect::<Vec<_>>(), "seed {seed}");
                whole += 1;
            }
        }
    }
    assert!(whole > 0 && gone > 0, "{whole} whole, {gone} gone");
    // As Flume leaves it: a good beginning, and filling where the rest should be.
    let cut = lab.on(lab.fs.crash(Survive::Everything));
    let segments = cut.segments();
    let last = segments.iter().rev().find_map(|path| Some((path, newest_put(&cut, path)?)));
    let (path, torn) = last.expect("a block");
    for kept in [1, 100, 192, 193, 4096] {
        let torn_lab = cut.copy();
        let filling = vec![0x80; (torn.len - kept) as usize];
        torn_lab.fs.overwrite(path, torn.offset + kept, &filling);
        assert_eq!(ids(&torn_lab.open(), "main").len(), 1000, "{kept} bytes of it are there");
    }
}

fn newest_put(lab: &Lab, path: &std::path::Path) -> Option<Block> {
    blocks(&lab.fs.read_file(path)).into_iter().rfind(|block| block.has(PUT))
}

/// Damages the block in the very middle of a thousand events, and looks at what it costs.
fn damage_in_the_middle(what: &str, damage: impl Fn(&Lab, &std::path::Path, &Block)) {
    for full_replay in [false, true] {
        let lab = thousand();
        let mut hit = None;
        for path in lab.segments() {
            let found = blocks(&lab.fs.read_file(&path));
            let at = found.iter().find(|block| block.has(PUT) && block.seqs.0 == 500).cloned();
            hit = hit.or(at.map(|block| (path, block)));
        }
        let (path, block) = hit.expect("event 500");
        damage(&lab, &path, &block);
        if full_replay {
            without_checkpoints(&lab);
        }
        let channel = lab.open();
        let lost: BTreeSet<u64> = (block.seqs.0..block.seqs.1).collect();
        let expected: Vec<u64> = (1..=1000).filter(|id| !lost.contains(id)).collect();
        assert_eq!(ids(&channel, "main"), expected, "{what}");
        let stats = channel.stats();
        let named: BTreeSet<u64> =
            stats.recent_losses.iter().flat_map(|loss| loss.seqs.start..loss.seqs.end).collect();
        assert_eq!(named, lost, "{what}: the ledger says it");
        assert_eq!(stats.lost_events, lost.len() as u64);
    }
}

/// W2, probe 2: in Flume, 500 of 1000 events are gone without a word.
#[test]
fn p6_one_changed_byte_among_a_thousand_events_costs_its_block_and_is_told() {
    for byte in [0, 5, 60, 188, 192, 200, 215, 230] {
        damage_in_the_middle(&format!("byte {byte}"), |lab, path, block| {
            lab.fs.flip_bit(path, block.offset + byte, 3);
        });
    }
}

/// W10, probe 3: in Flume, the start fails.
#[test]
fn p6_a_zeroed_page_costs_what_stood_in_it() {
    damage_in_the_middle("a page", |lab, path, block| {
        lab.fs.zero_sectors(path, block.offset..block.offset + 4096);
    });
}

/// W3 and W24, probes 4 and 4b: in Flume, 500 of 1000 events are gone, or it does not start.
#[test]
fn p7_a_smaller_limit_at_reopen_drops_nothing() {
    for full_replay in [false, true] {
        for smaller in [plain(16 << 20).events_max(500), plain(1 << 20)] {
            let lab = thousand().with(smaller);
            if full_replay {
                without_checkpoints(&lab);
            }
            let channel = lab.open();
            assert_eq!(ids(&channel, "main"), (1..=1000).collect::<Vec<_>>());
            // What the active segment has room for is allocated already.
            let full = (1001..).find_map(|id| put(&channel, [id]).err().map(|error| (id, error)));
            let (id, error) = full.expect("it has a limit");
            assert_eq!(error.kind(), ErrorKind::Full);
            assert!(id < 1100, "{id} events fit");
            assert_eq!(drain(&channel, "main").len() as u64, id - 1);
            lab.idle(&channel);
            put(&channel, [id]).expect("room");
        }
    }
}

/// W29, probe 5: in Flume, a channel with a backlog does not open on a disk without space, and no
/// take, commit, rollback or checkpoint goes through.
#[test]
fn p9_a_backlog_on_a_full_disk_opens_and_drains() {
    let lab = thousand();
    lab.fs.set_capacity(0);
    let channel = lab.open();
    assert_eq!(lab.fs.free_bytes(), 0);
    let mut take = channel.take_transaction("main").expect("a take");
    assert_eq!(take.take_many(100, usize::MAX).expect("events").len(), 100);
    take.rollback();
    let before = lab.fs.op_log().len();
    channel.checkpoint();
    lab.idle(&channel);
    let log = lab.fs.op_log().split_off(before);
    assert!(log.iter().any(|line| line.starts_with("write checkpoint")), "{log:#?}");
    let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
    lab.idle(&channel);
    put(&channel, [1001]).expect("what was drained is room, on a full disk as well");
    drop(channel);
    assert_eq!(ids(&lab.open(), "main"), [1001]);
}

/// W13, probe 6: in Flume, they come back as 89, 50, 11, 61 and so on.
#[test]
fn p3_open_takes_come_back_in_order_after_a_restart() {
    let lab = Lab::new(12).with(plain(16 << 20));
    let channel = lab.open();
    put(&channel, 1..151).expect("room");
    put(&channel, 151..301).expect("room");
    let mut takes = Vec::new();
    for _ in 0..30 {
        let mut take = channel.take_transaction("main").expect("a take");
        assert_eq!(take.take_many(10, usize::MAX).expect("events").len(), 10);
        takes.push(take);
    }
    channel.checkpoint();
    lab.idle(&channel);
    // One in three is given back, out of order; what was returned comes first.
    for at in [27, 3, 9, 0, 18] {
        takes.remove(at).rollback();
    }
    assert_eq!(ids(&channel, "main")[..10], (1..11).collect::<Vec<_>>());
    for survive in [Survive::Nothing, Survive::Everything] {
        let cut = lab.on(lab.fs.image(survive));
        assert_eq!(ids(&cut.open(), "main"), (1..301).collect::<Vec<_>>());
    }
}

/// W13, probe 7: in Flume, a single put of 100 events comes back scrambled.
#[test]
fn p3_a_put_across_a_checkpoint_keeps_its_order() {
    let lab = Lab::new(13).with(plain(4 << 20));
    let channel = lab.open();
    let mut long = channel.put_transaction();
    (1..51).for_each(|id| long.put(&event(id)).expect("it fits"));
    put(&channel, [1001]).expect("room");
    channel.checkpoint();
    lab.idle(&channel);
    (51..101).for_each(|id| long.put(&event(id)).expect("it fits"));
    long.commit().expect("room");
    let expected: Vec<u64> = [1001].into_iter().chain(1..101).collect();
    for survive in [Survive::Nothing, Survive::Everything] {
        let cut = lab.on(lab.fs.image(survive));
        assert_eq!(ids(&cut.open(), "main"), expected);
    }
}

/// W28, probe 11: in Flume, 24 files are kept for one event.
#[test]
fn p9_one_held_event_pins_one_segment_while_forty_thousand_pass() {
    let lab = Lab::new(14).with(plain(1 << 20));
    let channel = lab.open();
    put(&channel, [1]).expect("room");
    let mut held = channel.take_transaction("main").expect("a take");
    assert!(held.take().expect("it reads").is_some());
    let first = lab.segments()[0].clone();
    let mut taken = 0;
    for _ in 0..400 {
        let mut put = channel.put_transaction();
        (0..100_u64).for_each(|n| put.put(&n.to_le_bytes()).expect("it fits"));
        put.commit().expect("room");
        let mut take = channel.take_transaction("main").expect("a take");
        taken += take.take_many(100, usize::MAX).expect("events").len();
        take.commit().expect("an acknowledgement");
        channel.tend();
        assert!(channel.stats().segments_live <= 3, "{:?}", channel.stats());
    }
    assert_eq!(taken, 40_000);
    lab.idle(&channel);
    assert_eq!(channel.stats().segments_live, 2, "the held one's and the active one");
    assert!(lab.fs.exists(first), "the held event's segment");
    assert!(lab.allocated_bytes() <= 1 << 20);
    held.rollback();
    assert_eq!(ids(&channel, "main"), [1]);
}

/// The segment that a line of the trace writes, or syncs.
fn file_of<'a>(line: &'a str, op: &str) -> Option<&'a str> {
    line.strip_prefix(op)?.split(' ').next().filter(|name| name.ends_with(".wal"))
}

/// W5b, probe Roll: in Flume, a commit is acknowledged while the sync of the file with its puts
/// is still pending. Here no segment is written while another has something unsynced.
#[test]
fn p1_no_block_is_written_while_another_segment_is_unsynced() {
    for sync in [SyncClass::Commit, SyncClass::Interval(Duration::from_millis(100)), SyncClass::Os]
    {
        let mut story = Story::begin(sync);
        story.live(200);
        let mut unsynced: Option<String> = None;
        let mut rolls = 0;
        for line in story.lab.fs.op_log() {
            if let Some(name) = file_of(&line, "write ") {
                // Headers are written beside the log, and synced before they have a name in it.
                let header = line.ends_with(" 0+4096");
                let other = unsynced.as_deref().is_some_and(|other| other != name);
                assert!(!other || header, "{sync:?}: {line} while {unsynced:?} is unsynced");
                if !header {
                    rolls += u64::from(line.contains(" 4096+"));
                    unsynced = Some(name.to_owned());
                }
            } else if let Some(name) = file_of(&line, "sync_data ")
                && unsynced.as_deref() == Some(name)
            {
                unsynced = None;
            }
        }
        assert!(rolls > 3, "{rolls} rolls");
    }
}

/// The same, with the power going at each operation of a roll.
#[test]
fn p1_the_power_goes_at_each_operation_of_a_roll_and_all_that_was_acknowledged_is_there() {
    let prepare = || {
        let lab = Lab::new(15).with(plain(1 << 20));
        let channel = lab.open();
        // The next put does not fit into the first segment.
        let mut acknowledged = 0;
        while channel.stats().segments_live == 1 && blocks_end(&lab) + 3 * 4096 < 128 << 10 {
            acknowledged += 1;
            put(&channel, [acknowledged]).expect("room");
        }
        (lab, channel, acknowledged)
    };
    let (lab, channel, known) = prepare();
    let first = lab.fs.ops();
    for id in known + 1..known + 8 {
        put(&channel, [id]).expect("room");
    }
    let (ops, rolled) = (lab.fs.ops() - first, channel.stats().segments_live);
    assert_eq!(rolled, 2, "it did not roll");
    for at in 0..ops {
        let (lab, channel, mut known) = prepare();
        lab.fs.crash_at(first + at);
        while put(&channel, [known + 1]).is_ok() {
            known += 1;
        }
        for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(at)] {
            let seen = ids(&lab.on(lab.fs.crash(survive)).open(), "main");
            assert_eq!(seen[..known as usize], (1..=known).collect::<Vec<_>>(), "{at}");
            assert!(seen.len() as u64 <= known + 1, "{at}");
        }
    }
}

fn blocks_end(lab: &Lab) -> u64 {
    blocks(&lab.fs.read_file(&lab.segments()[0])).last().map_or(0, Block::end)
}

/// W6, probe Eio: in Flume, event 2 is delivered twice after the restart.
#[test]
fn p4_p10_a_put_repeated_after_a_failed_sync_is_there_once_after_a_restart() {
    for (failures, fault) in
        [(1, Fault::SyncFails), (2, Fault::SyncFails), (2, Fault::SyncFailsInPart)]
    {
        for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(5)] {
            let lab = Lab::new(16).with(plain(1 << 20));
            let channel = lab.open();
            let commit = |channel: &Channel, id: u64| {
                let mut put = channel.put_transaction();
                put.put(&event(id)).expect("it fits");
                put.set_producer("source", id).expect("room");
                put.commit()
            };
            commit(&channel, 1).expect("room");
            (0..failures).for_each(|n| lab.fs.fail_nth(Call::SyncData, n, fault));
            match commit(&channel, 2) {
                Ok(_) => assert_eq!(failures, 1),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InDoubt),
            }
            drop(channel);
            // The source repeats what it has no answer for, after the restart.
            let cut = lab.on(lab.fs.crash(survive));
            let channel = cut.open();
            commit(&channel, 2).expect("a commit or a repeat");
            commit(&channel, 3).expect("room");
            assert_eq!(ids(&channel, "main"), [1, 2, 3], "{failures} failures, {survive:?}");
            drop(channel);
            assert_eq!(ids(&cut.open(), "main"), [1, 2, 3]);
        }
    }
}

/// W5: in Flume, a second thread's sync of the same file says that all is well. Here nobody writes or
/// syncs a segment again once a write or a sync of it has failed.
#[test]
fn p10_no_file_is_touched_again_after_its_sync_failed() {
    for sync in [SyncClass::Commit, SyncClass::Interval(Duration::from_millis(100)), SyncClass::Os]
    {
        let mut clean = Story::begin(sync);
        let before = clean.lab.fs.calls(Call::SyncData);
        clean.live(38);
        for n in 0..clean.lab.fs.calls(Call::SyncData) - before {
            let mut story = Story::begin(sync);
            story.lab.fs.fail_nth(Call::SyncData, n, Fault::SyncFails);
            story.live(38);
            never_again(&story.lab.fs);
        }
    }
}

fn never_again(fs: &SimFs) {
    let log = fs.op_log();
    let failed = log.iter().position(|line| line.ends_with("(SyncFails)"));
    let failed = failed.expect("the plan was met");
    let Some(name) = file_of(&log[failed], "sync_data ") else { return };
    for line in &log[failed + 1..] {
        let again = ["write ", "sync_data ", "sync_all "].map(|op| file_of(line, op));
        assert!(!again.contains(&Some(name)), "{line} after {}", log[failed]);
    }
}

/// W7: in Flume, a first commit in a new file can vanish with the file's name.
#[test]
fn p1_a_first_commit_in_a_new_file_does_not_vanish_with_its_name() {
    let lab = Lab::new(17).with(plain(1 << 20));
    let channel = lab.open();
    let (mut segments, mut id) = (1, 0);
    while segments < 4 {
        id += 1;
        put(&channel, [id]).expect("room");
        segments = channel.stats().segments_live;
        let cut = lab.on(lab.fs.image(Survive::Nothing));
        assert_eq!(ids(&cut.open(), "main"), (1..=id).collect::<Vec<_>>());
    }
}

/// W11: in Flume, the take that meets it closes the log for everybody.
#[test]
fn p6_one_corrupt_event_does_not_close_the_channel() {
    let lab = Lab::new(18).with(plain(4 << 20).tail_bytes(0));
    let channel = lab.open();
    put_each(&channel, 1..101);
    let path = &lab.segments()[0];
    let found = blocks(&lab.fs.read_file(path));
    let hit = found.iter().filter(|block| block.has(PUT)).nth(9).expect("the tenth event");
    lab.fs.flip_bit(path, hit.offset + 210, 0);
    let expected: Vec<u64> = (1..101).filter(|id| *id != 10).collect();
    assert_eq!(ids(&channel, "main"), expected);
    assert_eq!(channel.stats().condition, Condition::Open);
    assert_eq!(channel.stats().lost_events, 1);
    put(&channel, [101]).expect("it takes puts");
    assert_eq!(ack(&channel, "main", 20).len(), 20);
    let before = lab.fs.op_log().len();
    channel.checkpoint();
    lab.idle(&channel);
    let log = lab.fs.op_log().split_off(before);
    assert!(log.iter().any(|line| line.starts_with("write checkpoint")), "it writes checkpoints");
}

/// W4: in Flume, `fsyncPerTransaction=false` still syncs each commit.
#[test]
fn the_weaker_classes_sync_less_than_each_commit() {
    let syncs = |sync: SyncClass| {
        let lab = Lab::new(19).with(plain(4 << 20).sync(sync));
        let channel = lab.open();
        let before = lab.fs.calls(Call::SyncData);
        put_each(&channel, 1..101);
        lab.fs.calls(Call::SyncData) - before
    };
    let (commit, os) = (syncs(SyncClass::Commit), syncs(SyncClass::Os));
    let interval = syncs(SyncClass::Interval(Duration::from_secs(1)));
    assert!(commit >= 100 && os < 10 && interval < 10, "{commit}, {interval}, {os}");
}

/// How many calls a channel with so many events makes to open and to give out the first one.
fn calls_of_open(events: u64) -> (u64, u64) {
    let lab = Lab::new(20).with(plain(64 << 20));
    let channel = lab.open();
    for first in (1..events).step_by(50) {
        put(&channel, first..first + 50).expect("room");
    }
    lab.idle(&channel);
    channel.checkpoint();
    lab.idle(&channel);
    drop(channel);
    let lab = lab.copy();
    let channel = lab.open();
    let mut take = channel.take_transaction("main").expect("a take");
    assert!(take.take().expect("it reads").is_some());
    (lab.fs.calls(Call::Read), lab.fs.ops())
}

/// W25 and W27: in Flume, each event and each held pointer costs time at every start.
#[test]
fn p8_what_open_reads_does_not_grow_with_the_backlog() {
    let (few_reads, few_ops) = calls_of_open(500);
    let (many_reads, many_ops) = calls_of_open(20_000);
    // A few for the header of each further segment, none for events.
    assert!(many_reads <= few_reads + 20, "{few_reads} and {many_reads} reads");
    assert!(many_ops <= few_ops, "{few_ops} and {many_ops} operations");
}

/// W19, W20 and W27: what a commit or a checkpoint writes is the same whatever waits or is held.
#[test]
fn p8_what_is_written_does_not_grow_with_the_backlog_or_with_what_is_held() {
    let cost = |backlog: u64, held: usize| {
        let lab = Lab::new(21).with(plain(64 << 20));
        let channel = lab.open();
        for first in (1..backlog).step_by(50) {
            put(&channel, first..first + 50).expect("room");
        }
        let mut take = channel.take_transaction("main").expect("a take");
        assert_eq!(take.take_many(held, usize::MAX).expect("events").len(), held);
        lab.idle(&channel);
        ack(&channel, "main", 1);
        let before = channel.stats();
        for _ in 0..50 {
            assert_eq!(ack(&channel, "main", 2).len(), 2);
            put(&channel, [7]).expect("room");
        }
        let after = channel.stats();
        let ops = lab.fs.ops();
        channel.checkpoint();
        lab.idle(&channel);
        let checkpoint = lab.fs.ops() - ops;
        let commits = (after.written_blocks - before.written_blocks, after.syncs - before.syncs);
        (commits, checkpoint)
    };
    let few = cost(500, 1);
    assert_eq!(few.0, (100, 100), "one block and one sync each");
    assert_eq!(cost(20_000, 1), few);
    assert_eq!(cost(20_000, 5000), few);
}

/// W30: in Flume, a start that failed keeps its locks: "Cannot lock" at the next one.
#[test]
fn p7_a_failed_open_leaks_no_lock() {
    for background in [Background::Manual, Background::Threads] {
        let lab = thousand().with(plain(16 << 20).background(background));
        for call in [Call::List, Call::Read, Call::Write, Call::SyncData, Call::Open] {
            let lab = lab.copy();
            lab.fs.fail_nth_and_later(call, 2 * u64::from(call == Call::Read), Fault::Eio);
            let outcome = lab.try_open().map(|_| ());
            assert_eq!(outcome.expect_err("it fails").kind(), ErrorKind::Io, "{call:?}");
            lab.fs.heal();
            let channel = lab.try_open().expect("nobody has it");
            assert_eq!(ids(&channel, "main").len(), 1000, "{call:?}");
            channel.close();
            lab.try_open().expect("nobody has it");
        }
    }
}

/// W34: in Flume, order across restarts and the ids of transactions hang on the wall clock.
#[test]
fn p3_p4_a_wall_clock_that_jumps_back_changes_neither_order_nor_seqs() {
    const YEAR_US: i64 = 365 * 86_400 * 1_000_000;
    let mut lab = Lab::new(22).with(plain(4 << 20));
    let mut next = 1;
    for (jump, survive) in [
        (-YEAR_US, Survive::Everything),
        (3 * YEAR_US, Survive::Nothing),
        (-80 * YEAR_US, Survive::Nothing),
        (-1, Survive::Everything),
    ] {
        let channel = lab.open();
        for id in next..next + 20 {
            let receipt = put(&channel, [id]).expect("room");
            assert_eq!(receipt.first_seq, id);
            if id == next + 10 {
                lab.clock.jump_wall_us(jump);
            }
        }
        next += 20;
        channel.checkpoint();
        lab.idle(&channel);
        drop(channel);
        lab = lab.on(lab.fs.crash(survive));
        assert_eq!(ids(&lab.open(), "main"), (1..next).collect::<Vec<_>>());
    }
}
