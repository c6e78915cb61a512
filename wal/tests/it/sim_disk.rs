//! The simulated disk keeps its word: what is synced stays, what is not may go in any part.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_wal::fs::sim::{Fault, SimClock, SimFs, SimRandom, Survive, sim_env};
use forebay_wal::fs::{File, Fs as _, Kind, Mode};
use forebay_wal::{Clock as _, Random as _};

const SEED: u64 = 0x5eed;
pub(super) const DIR: &str = "/disk";
pub(super) const FILE: &str = "/disk/file";
pub(super) const SECTOR: usize = 4096;
pub(super) const PIECE: usize = 512;

/// A disk with an empty file on it, all durable.
pub(super) fn disk() -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new(SEED);
    fs.create_dir(Path::new(DIR)).expect("a new disk has room");
    let file = create(&fs, FILE);
    fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
    (fs, file)
}

fn create(fs: &SimFs, path: &str) -> Arc<dyn File> {
    fs.open(Path::new(path), Mode::CreateNew).expect("nothing is there yet")
}

fn write(file: &dyn File, bytes: &[u8], offset_bytes: usize) -> io::Result<usize> {
    file.write_at(&[IoSlice::new(bytes)], offset_bytes as u64)
}

pub(super) fn put(file: &dyn File, bytes: &[u8], offset_bytes: usize) {
    assert_eq!(write(file, bytes, offset_bytes).expect("no fault is planned"), bytes.len());
}

pub(super) fn every_outcome() -> impl Iterator<Item = Survive> {
    let seeds = (0..200).flat_map(|seed| [Survive::Seed(seed), Survive::SeedAnyNames(seed)]);
    [Survive::Nothing, Survive::Everything].into_iter().chain(seeds)
}

fn assert_crashed<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.expect_err("the disk is dead").to_string(), "crashed");
}

#[test]
fn synced_data_survive_every_power_cut() {
    let (fs, file) = disk();
    put(&*file, &[7; 3 * SECTOR], SECTOR);
    file.sync_data().expect("no fault is planned");
    put(&*file, &[9; SECTOR], 5 * SECTOR);
    for outcome in every_outcome() {
        let bytes = fs.image(outcome).read_file(FILE);
        assert_eq!(bytes[..SECTOR], [0; SECTOR], "{outcome:?}");
        assert_eq!(bytes[SECTOR..4 * SECTOR], [7; 3 * SECTOR], "{outcome:?}");
    }
}

#[test]
fn unsynced_data_vanish_or_stay_or_stay_in_part() {
    let (fs, file) = disk();
    file.allocate(4 * SECTOR as u64).expect("there is room");
    file.sync_all().expect("no fault is planned");
    put(&*file, &[1; 4 * SECTOR], 0);
    let (mut none, mut all, mut part) = (0, 0, 0);
    for outcome in every_outcome() {
        let bytes = fs.image(outcome).read_file(FILE);
        assert_eq!(bytes.len(), 4 * SECTOR);
        match bytes.iter().filter(|byte| **byte == 1).count() {
            0 => none += 1,
            written if written == bytes.len() => all += 1,
            _ => part += 1,
        }
        for piece in bytes.chunks(PIECE) {
            assert!(piece == [0; PIECE] || piece == [1; PIECE], "torn inside of 512 bytes");
        }
    }
    assert!(none > 10 && all > 10 && part > 100, "none {none}, all {all}, part {part}");
    assert_eq!(fs.image(Survive::Nothing).read_file(FILE), [0; 4 * SECTOR]);
    assert_eq!(fs.image(Survive::Everything).read_file(FILE), [1; 4 * SECTOR]);
}

#[test]
fn unsynced_writes_survive_in_any_order() {
    let (fs, file) = disk();
    file.allocate(2 * SECTOR as u64).expect("there is room");
    file.sync_all().expect("no fault is planned");
    put(&*file, &[1; PIECE], 0);
    put(&*file, &[2; PIECE], SECTOR);
    let outcomes: Vec<(u8, u8)> = every_outcome()
        .map(|outcome| fs.image(outcome).read_file(FILE))
        .map(|bytes| (bytes[0], bytes[SECTOR]))
        .collect();
    for wanted in [(0, 0), (1, 0), (0, 2), (1, 2)] {
        assert!(outcomes.contains(&wanted), "{wanted:?} never happened");
    }
}

#[test]
fn an_overwrite_that_was_not_synced_leaves_old_or_new_pieces() {
    let (fs, file) = disk();
    put(&*file, &[1; 2 * SECTOR], 0);
    file.sync_data().expect("no fault is planned");
    put(&*file, &[2; SECTOR], SECTOR / 2);
    for outcome in every_outcome() {
        let bytes = fs.image(outcome).read_file(FILE);
        assert_eq!(bytes[..SECTOR / 2], [1; SECTOR / 2], "{outcome:?}");
        assert_eq!(bytes[SECTOR * 3 / 2..], [1; SECTOR / 2], "{outcome:?}");
        for piece in bytes[SECTOR / 2..SECTOR * 3 / 2].chunks(PIECE) {
            assert!(piece == [1; PIECE] || piece == [2; PIECE], "{outcome:?}");
        }
    }
}

#[test]
fn an_allocation_is_durable_after_sync_all_only() {
    let (fs, file) = disk();
    file.allocate(8 * SECTOR as u64).expect("there is room");
    put(&*file, &[1; SECTOR], 0);
    file.sync_data().expect("no fault is planned");
    assert_eq!(fs.image(Survive::Nothing).read_file(FILE).len(), SECTOR);
    file.sync_all().expect("no fault is planned");
    let after = fs.crash(Survive::Nothing);
    assert_eq!(after.read_file(FILE).len(), 8 * SECTOR);
    let entry = &after.list(Path::new(DIR)).expect("the directory is durable")[0];
    assert_eq!(entry.allocated_bytes, 8 * SECTOR as u64);
    assert_eq!(entry.kind, Kind::File);
}

#[test]
fn a_new_file_may_vanish_until_its_directory_is_synced() {
    let (fs, _file) = disk();
    let new = create(&fs, "/disk/new");
    put(&*new, &[1; SECTOR], 0);
    new.sync_all().expect("no fault is planned");
    assert!(!fs.image(Survive::Nothing).exists("/disk/new"));
    assert!(fs.image(Survive::Everything).exists("/disk/new"));
    fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
    for outcome in every_outcome() {
        assert_eq!(fs.image(outcome).read_file("/disk/new"), [1; SECTOR], "{outcome:?}");
    }
}

#[test]
fn a_rename_may_vanish_until_its_directory_is_synced() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    let target = "/disk/target";
    fs.write_file(target, &[2; SECTOR]);
    fs.rename(Path::new(FILE), Path::new(target)).expect("both are there");
    assert_eq!(fs.read_file(target), [1; SECTOR]);
    let before = fs.image(Survive::Nothing);
    assert_eq!(before.read_file(FILE), [1; SECTOR]);
    assert_eq!(before.read_file(target), [2; SECTOR]);
    fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
    let after = fs.crash(Survive::Nothing);
    assert!(!after.exists(FILE));
    assert_eq!(after.read_file(target), [1; SECTOR]);
}

#[test]
fn names_survive_as_a_prefix_unless_any_order_is_asked_for() {
    let (fs, _file) = disk();
    for name in ["a", "b", "c"] {
        create(&fs, &format!("{DIR}/{name}"));
    }
    fs.remove(Path::new(FILE)).expect("it is there");
    let seen = |survive| {
        let image = fs.image(survive);
        ["a", "b", "c", "file"].map(|name| image.exists(format!("{DIR}/{name}")))
    };
    let mut broken = false;
    for seed in 0..100 {
        let prefixes = [
            [false, false, false, true],
            [true, false, false, true],
            [true, true, false, true],
            [true, true, true, true],
            [true, true, true, false],
        ];
        assert!(prefixes.contains(&seen(Survive::Seed(seed))), "seed {seed}");
        broken |= !prefixes.contains(&seen(Survive::SeedAnyNames(seed)));
    }
    assert!(broken, "a hundred seeds left a prefix each time");
}

#[test]
fn a_failed_sync_loses_its_writes_and_a_later_one_does_not_bring_them_back() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    fs.fail_at(fs.ops(), Fault::SyncFails);
    let error = file.sync_data().expect_err("a fault is planned");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    put(&*file, &[2; SECTOR], SECTOR);
    file.sync_all().expect("the fault is over");

    let mut bytes = [0; SECTOR];
    file.read_at(&mut bytes, 0).expect("the cache has it");
    assert_eq!(bytes, [1; SECTOR], "clean in the cache");
    file.read_medium_at(&mut bytes, 0).expect("the medium can be read");
    assert_eq!(bytes, [0; SECTOR], "never on the medium");
    assert_eq!(fs.kill().read_file(FILE)[..SECTOR], [1; SECTOR], "the cache outlives the process");

    let after = fs.crash(Survive::Everything);
    assert_eq!(after.read_file(FILE)[..SECTOR], [0; SECTOR]);
    assert_eq!(after.read_file(FILE)[SECTOR..], [2; SECTOR]);
}

#[test]
fn a_dropped_cache_shows_what_a_failed_sync_lost() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    fs.fail_at(fs.ops(), Fault::Eio);
    assert!(file.sync_data().is_err());
    put(&*file, &[2; SECTOR], SECTOR);
    fs.drop_cache();
    assert_eq!(fs.read_file(FILE)[..SECTOR], [0; SECTOR], "lost");
    assert_eq!(fs.read_file(FILE)[SECTOR..], [2; SECTOR], "dirty pages stay");
}

#[test]
fn a_sync_that_fails_in_part_leaves_pieces_on_the_medium() {
    let in_part = (0..20).any(|seed| {
        let fs = SimFs::new(seed);
        fs.create_dir(Path::new(DIR)).expect("a new disk has room");
        let file = create(&fs, FILE);
        fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
        put(&*file, &[1; 4 * SECTOR], 0);
        fs.fail_at(fs.ops(), Fault::SyncFailsInPart);
        assert!(file.sync_data().is_err());
        let left = fs.crash(Survive::Nothing).read_file(FILE);
        left.contains(&1) && left != [1; 4 * SECTOR]
    });
    assert!(in_part, "twenty seeds left all or nothing");
}

#[test]
fn a_failed_directory_sync_loses_its_names() {
    let (fs, _file) = disk();
    create(&fs, "/disk/new");
    fs.fail_at(fs.ops(), Fault::SyncFails);
    assert!(fs.sync_dir(Path::new(DIR)).is_err());
    fs.sync_dir(Path::new(DIR)).expect("the fault is over");
    assert!(fs.exists("/disk/new"));
    assert!(!fs.crash(Survive::Everything).exists("/disk/new"));
}

#[test]
fn the_medium_shows_only_what_was_synced() {
    let (_fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    let mut bytes = [9; SECTOR];
    assert_eq!(file.read_medium_at(&mut bytes, 0).expect("it can be read"), 0);
    file.sync_data().expect("no fault is planned");
    assert_eq!(file.read_medium_at(&mut bytes, 0).expect("it can be read"), SECTOR);
    assert_eq!(bytes, [1; SECTOR]);
}

#[test]
fn a_killed_process_leaves_its_writes_in_the_cache_still_unsynced() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    create(&fs, "/disk/new");
    let next = fs.kill();
    assert_crashed(file.sync_data());
    assert_crashed(fs.list(Path::new(DIR)));
    assert_eq!(next.read_file(FILE), [1; SECTOR]);
    assert!(next.exists("/disk/new"));

    let after = next.image(Survive::Nothing);
    assert_eq!(after.read_file(FILE), []);
    assert!(!after.exists("/disk/new"));

    let file = next.open(Path::new(FILE), Mode::ReadWrite).expect("it is there");
    file.sync_data().expect("no fault is planned");
    assert_eq!(next.crash(Survive::Nothing).read_file(FILE), [1; SECTOR]);
}

#[test]
fn locks_hold_against_others_and_end_with_their_owner() {
    let (fs, _file) = disk();
    let path = Path::new("/disk/LOCK");
    let lock = fs.lock(path).expect("nobody has it");
    lock.describe().expect("there is room");
    assert_eq!(fs.read_file(path), b"a simulated process\n");
    let other = fs.clone();
    assert_eq!(other.lock(path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    let _lock = other.lock(path).expect("given back");
    fs.kill().lock(path).expect("its process is dead");
    fs.crash(Survive::Nothing).lock(path).expect("its machine was off");
}

#[test]
fn every_call_fails_from_the_planned_crash_on() {
    let (fs, file) = disk();
    fs.crash_at(fs.ops() + 1);
    put(&*file, &[1; SECTOR], 0);
    assert!(!fs.is_crashed());
    assert_crashed(file.sync_data());
    assert!(fs.is_crashed());
    assert_crashed(file.len_bytes());
    assert_crashed(fs.open(Path::new(FILE), Mode::Read));
    assert_crashed(fs.lock(Path::new("/disk/LOCK")));
    assert_eq!(fs.crash(Survive::Nothing).read_file(FILE), []);
    assert_eq!(fs.kill().read_file(FILE), [1; SECTOR]);
}

#[test]
fn faults_meet_the_operations_they_are_planned_for() {
    let (fs, file) = disk();
    let first = fs.ops();
    fs.fail_at(first + 1, Fault::Enospc);
    fs.fail_at(first + 2, Fault::ShortWrite);
    fs.fail_from(first + 3, Fault::Eio);
    put(&*file, &[1; SECTOR], 0);
    let full = write(&*file, &[2; SECTOR], 0).expect_err("planned");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let short = write(&*file, &[3; SECTOR], SECTOR).expect("it writes something");
    assert!(0 < short && short < SECTOR, "{short}");
    assert!(write(&*file, &[4; SECTOR], 0).is_err());
    assert!(create_fails(&fs, "/disk/new"));
    fs.heal();
    file.sync_data().expect("healed");
    let bytes = fs.read_file(FILE);
    assert_eq!(bytes[..SECTOR], [1; SECTOR]);
    assert_eq!(bytes[SECTOR..], vec![3; short]);
    assert_eq!(fs.op_log()[first as usize], "write file 0+4096");
    assert_eq!(fs.op_log()[first as usize + 1], "write file 0+4096 (Enospc)");
}

fn create_fails(fs: &SimFs, path: &str) -> bool {
    fs.open(Path::new(path), Mode::CreateNew).is_err() && !fs.exists(path)
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let (fs, file) = disk();
    fs.set_capacity(4 * SECTOR as u64);
    file.allocate(3 * SECTOR as u64).expect("there is room");
    assert_eq!(fs.available_bytes(Path::new(DIR)).expect("it is there"), SECTOR as u64);
    let refused = file.allocate(5 * SECTOR as u64).expect_err("too much");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);

    let written = write(&*file, &[1; 4 * SECTOR], 2 * SECTOR).expect("some of it fits");
    assert_eq!(written, 2 * SECTOR, "what fits is written");
    let refused = write(&*file, &[1; SECTOR], 4 * SECTOR).expect_err("nothing fits");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(create_fails(&fs, "/disk/new"));

    put(&*file, &[2; 4 * SECTOR], 0);
    file.sync_all().expect("a sync needs no room");
    fs.set_capacity(8 * SECTOR as u64);
    let new = create(&fs, "/disk/new");
    new.allocate(4 * SECTOR as u64).expect("there is room again");
    assert_eq!(fs.free_bytes(), 0);
    fs.remove(Path::new("/disk/new")).expect("it is there");
    assert_eq!(fs.free_bytes(), 0, "it is still open");
    drop(new);
    assert_eq!(fs.free_bytes(), 4 * SECTOR as u64);
}

#[test]
fn equal_seeds_leave_equal_disks() {
    let run = |seed| {
        let fs = SimFs::new(seed);
        fs.create_dir(Path::new(DIR)).expect("a new disk has room");
        let file = create(&fs, FILE);
        fs.fail_at(fs.ops() + 3, Fault::ShortWrite);
        for n in 0..20_u8 {
            write(&*file, &[n; SECTOR], usize::from(n) * SECTOR).expect("something is written");
        }
        fs.fail_at(fs.ops(), Fault::SyncFailsInPart);
        assert!(file.sync_data().is_err());
        write(&*file, &[77; 3 * SECTOR], 10 * SECTOR).expect("no fault is planned");
        fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
        (fs.op_log(), fs.crash(Survive::Seed(seed)).read_file(FILE))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn damage_is_durable_and_seen_at_once() {
    let (fs, file) = disk();
    put(&*file, &[1; 2 * SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    fs.flip_bit(FILE, 5, 7);
    fs.zero_sectors(FILE, SECTOR as u64..u64::MAX);
    fs.overwrite(FILE, 10, b"xyz");
    fs.write_file("/disk/deep/copy", b"");
    fs.copy_over(FILE, "/disk/deep/copy");
    fs.truncate(FILE, PIECE as u64);
    let ops = fs.ops();
    let after = fs.crash(Survive::Nothing);
    assert_eq!(fs.ops(), ops, "not an operation");
    assert_eq!(after.paths(), [Path::new("/disk/deep/copy"), Path::new(FILE)]);
    let bytes = after.read_file("/disk/deep/copy");
    assert_eq!((bytes[4], bytes[5], &bytes[10..13], bytes[SECTOR]), (1, 129, &b"xyz"[..], 0));
    assert_eq!(after.read_file(FILE).len(), PIECE);
    after.remove_quietly(FILE);
    assert!(!after.image(Survive::Nothing).exists(FILE));
    after.fail_reads("/disk/deep/copy", 100..101);
    let file = after.open(Path::new("/disk/deep/copy"), Mode::Read).expect("it is there");
    assert!(file.read_at(&mut [0; 101], 0).is_err());
    assert_eq!(file.read_at(&mut [0; 100], 0).expect("short of the bad byte"), 100);
    assert!(write(&*file, b"x", 0).is_err(), "opened for reading");
}

#[test]
fn what_a_cut_took_does_not_come_back_when_the_file_grows_again() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    fs.truncate(FILE, 100);
    fs.truncate(FILE, SECTOR as u64);
    let bytes = fs.read_file(FILE);
    assert_eq!(bytes[..100], [1; 100]);
    assert_eq!(bytes[100..], [0; SECTOR - 100]);
}

#[test]
fn a_page_is_there_for_others_and_promises_nothing() {
    let (fs, _file) = disk();
    let path = Path::new("/disk/status");
    let mut page = fs.page(path, 16).expect("there is room");
    page.store(b"live figures, and too many of them");
    page.store(b"LIVE");
    assert_eq!(fs.read_file(path), b"LIVE figures, an");
    fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
    assert_eq!(fs.crash(Survive::Nothing).read_file(path), b"");
    page.store(b"dead");
    assert_eq!(fs.read_file(path), b"LIVE figures, an");
}

#[test]
fn the_simulated_world_goes_by_its_seed_and_by_the_test() {
    let (env, fs, clock) = sim_env(SEED);
    env.fs.create_dir(Path::new("/a/b")).expect("a new disk has room");
    assert_eq!(fs.list(Path::new("/a")).expect("made on the way")[0].name, "b");
    let wall_us = env.clock.wall_us();
    clock.advance(Duration::from_millis(3));
    assert_eq!(env.clock.monotonic(), Duration::from_millis(3));
    assert_eq!(env.clock.wall_us(), wall_us + 3000);
    clock.jump_wall_us(-5000);
    assert_eq!(env.clock.wall_us(), wall_us - 2000);
    clock.set_wall_us(1);
    assert_eq!((env.clock.wall_us(), env.clock.monotonic()), (1, Duration::from_millis(3)));
    assert_eq!(SimClock::new().monotonic(), Duration::ZERO);

    let mut bytes = [[0; 13]; 3];
    env.random.fill(&mut bytes[0]);
    env.random.fill(&mut bytes[1]);
    SimRandom::new(SEED).fill(&mut bytes[2]);
    assert_eq!(bytes[0], bytes[2]);
    assert_ne!(bytes[0], bytes[1]);
}
