//! The operating system's file system behind the log's traits.

use std::io::{self, IoSlice};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use forebay_wal::fs::{Fs as _, Kind, Mode, OsFs, read_exact_at, write_all_at};
use forebay_wal::{Channel, Options};

fn mode_of(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

#[test]
fn directories_are_made_on_the_way_and_are_private() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let deep = temporary.path().join("a/b/c");
    OsFs::default().create_dir(&deep).expect("made");
    OsFs::default().create_dir(&deep).expect("fine if it is there");
    assert_eq!(mode_of(&deep), 0o700);
    assert_eq!(mode_of(&temporary.path().join("a")), 0o700);
    std::fs::write(temporary.path().join("file"), "").expect("written");
    let below_file = temporary.path().join("file/d");
    assert!(OsFs::default().create_dir(&below_file).is_err());
    let entries = OsFs::default().list(temporary.path()).expect("it is there");
    let kind = |name| entries.iter().find(|entry| entry.name == name).map(|entry| entry.kind);
    assert_eq!((kind("a"), kind("file")), (Some(Kind::Directory), Some(Kind::File)));
    let missing = OsFs::default().list(&temporary.path().join("missing")).expect_err("missing");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_is_written_is_read_from_cache_and_medium() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("file");
    let file = OsFs::default().open(&path, Mode::CreateNew).expect("new");
    assert_eq!(mode_of(&path), 0o600);
    let again = OsFs::default().open(&path, Mode::CreateNew).expect_err("it is there");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);

    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    let (head, tail) = bytes.split_at(1_234_567);
    let mut bufs = [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)];
    write_all_at(&*file, &mut bufs, 0).expect("written");
    file.sync_all().expect("synced");
    OsFs::default().sync_dir(temporary.path()).expect("synced");
    assert_eq!(file.len_bytes().expect("a length"), bytes.len() as u64);

    for (begin, end) in [(0, 3_000_001), (1, 2), (4095, 4097), (8192, 1_500_000), (7, 2_999_999)] {
        let mut read = vec![0; end - begin];
        read_exact_at(&*file, &mut read, begin as u64).expect("read");
        assert!(read == bytes[begin..end], "cache, {begin}..{end}");
        read.fill(0);
        let got = file.read_medium_at(&mut read, begin as u64).expect("read");
        assert_eq!(got, end - begin, "medium, {begin}..{end}");
        assert!(read == bytes[begin..end], "medium, {begin}..{end}");
    }
    let mut beyond = [0; 100];
    assert_eq!(file.read_medium_at(&mut beyond, 3_000_000).expect("read"), 1);
    assert_eq!(file.read_medium_at(&mut beyond, 3_000_002).expect("read"), 0);
    assert_eq!(file.read_medium_at(&mut beyond, 9_000_002).expect("read"), 0);

    let target = temporary.path().join("target");
    OsFs::default().rename(&path, &target).expect("renamed");
    assert!(OsFs::default().open(&path, Mode::Read).is_err());
    let reader = OsFs::default().open(&target, Mode::Read).expect("there");
    assert!(reader.write_at(&[IoSlice::new(b"x")], 0).is_err(), "for reading only");
    OsFs::default().remove(&target).expect("removed");
}

#[test]
fn an_allocation_takes_space_and_reads_as_zeroes() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let file = OsFs::default().open(&temporary.path().join("file"), Mode::CreateNew).expect("new");
    file.allocate(0).expect("nothing to do");
    file.write_at(&[IoSlice::new(b"kept")], 0).expect("written");
    file.allocate(1 << 20).expect("allocated");
    file.allocate(4096).expect("never shrinks");
    assert_eq!(file.len_bytes().expect("a length"), 1 << 20);
    assert!(file.allocated_bytes().expect("a size") >= 1 << 20);
    let mut bytes = [9; 8];
    read_exact_at(&*file, &mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"kept\0\0\0\0");
    let refused = file.allocate(1 << 62).expect_err("more than any disk has");
    let expected = [io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
    assert!(expected.contains(&refused.kind()), "{refused:?}");
}

#[test]
fn what_is_written_past_the_cache_is_read_through_it() {
    let temporary = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    let path = temporary.path().join("file");
    let file = OsFs::direct().open(&path, Mode::CreateNew).expect("new");
    file.allocate(64 << 10).expect("allocated");
    let reader = OsFs::default().open(&path, Mode::Read).expect("there");
    let mut seen = vec![0; 64 << 10];
    let mut expected = seen.clone();
    // Whole sectors in one piece and in several, and what is none.
    for (number, (offset, lens)) in [
        (0, &[8192][..]),
        (4096, &[100, 4000, 4092]),
        (5, &[10]),
        (12_288, &[4096]),
        (0, &[40_960]),
    ]
    .into_iter()
    .enumerate()
    {
        let pieces: Vec<Vec<u8>> = lens.iter().map(|&len| vec![number as u8 + 1; len]).collect();
        let mut bufs: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        // It stands in the cache before.
        read_exact_at(&*reader, &mut seen, 0).expect("read");
        write_all_at(&*file, &mut bufs, offset).expect("written");
        let len: usize = lens.iter().sum();
        expected[offset as usize..][..len].fill(number as u8 + 1);
        read_exact_at(&*reader, &mut seen, 0).expect("read");
        assert!(seen == expected, "write {number}");
    }
    file.sync_data().expect("synced");
}

#[test]
fn p1_p3_a_channel_that_writes_past_the_cache_is_the_same_channel() {
    let temporary = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    let options = || Options::new().bytes_max(4 << 20).direct(true);
    let body = |number: u32| vec![number as u8; 1 + (number as usize * 37) % 5000];
    for round in 0..3 {
        let channel = Channel::open(temporary.path(), options()).expect("a channel");
        for number in 0..200 {
            let mut put = channel.put_transaction();
            put.put(&body(number)).expect("it fits");
            put.commit().expect("it is committed");
            if number % 2 == 0 || round == 2 {
                continue;
            }
            let mut take = channel.take_transaction("main").expect("a take");
            take.take_many(2, usize::MAX).expect("events");
            take.commit().expect("it is acknowledged");
        }
    }
    let channel = Channel::open(temporary.path(), options().direct(false)).expect("a channel");
    let mut take = channel.take_transaction("main").expect("a take");
    let taken = take.take_many(1000, usize::MAX).expect("events");
    assert_eq!(taken.len(), 200);
    for (number, taken) in (0..).zip(taken) {
        assert!(taken.bytes == body(number), "event {number}");
    }
}

#[test]
fn a_lock_has_one_owner_who_is_named() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("LOCK");
    let lock = OsFs::default().lock(&path).expect("nobody has it");
    std::fs::write(&path, "a longer word of an owner who is gone").expect("writable");
    lock.describe().expect("written");
    let words = format!("process {}\n", std::process::id());
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), words);
    assert_eq!(OsFs::default().lock(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    OsFs::default().lock(&path).expect("given back");
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_page_is_seen_by_other_readers() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("status");
    std::fs::write(&path, [7; 9000]).expect("an older, longer page");
    let mut page = OsFs::default().page(&path, 4096).expect("mapped");
    page.store(b"live");
    let seen = std::fs::read(&path).expect("readable");
    assert_eq!((seen.len(), &seen[..4], seen[4]), (4096, &b"live"[..], 7));
    page.store(&[1; 5000]);
    assert_eq!(std::fs::read(&path).expect("readable"), [1; 4096]);
}

#[test]
fn links_are_not_followed_out_of_the_directory() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let outside = temporary.path().join("outside");
    std::fs::write(&outside, "foreign").expect("written");
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink(&outside, &link).expect("linked");
    assert!(OsFs::default().open(&link, Mode::ReadWrite).is_err());
    assert!(OsFs::default().lock(&link).is_err());
    assert!(OsFs::default().page(&link, 4096).is_err());
    assert_eq!(std::fs::read_to_string(&outside).expect("readable"), "foreign");
}
