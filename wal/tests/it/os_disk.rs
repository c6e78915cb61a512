//! The operating system's file system behind the log's traits.

use std::io::{self, IoSlice};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use forebay_wal::fs::{Fs as _, Kind, Mode, OsFs, read_exact_at, write_all_at};

fn mode_of(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

#[test]
fn directories_are_made_on_the_way_and_are_private() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let deep = temporary.path().join("a/b/c");
    OsFs.create_dir(&deep).expect("made");
    OsFs.create_dir(&deep).expect("fine if it is there");
    assert_eq!(mode_of(&deep), 0o700);
    assert_eq!(mode_of(&temporary.path().join("a")), 0o700);
    std::fs::write(temporary.path().join("file"), "").expect("written");
    let below_file = temporary.path().join("file/d");
    assert!(OsFs.create_dir(&below_file).is_err());
    let entries = OsFs.list(temporary.path()).expect("it is there");
    let kind = |name| entries.iter().find(|entry| entry.name == name).map(|entry| entry.kind);
    assert_eq!((kind("a"), kind("file")), (Some(Kind::Directory), Some(Kind::File)));
    let missing = OsFs.list(&temporary.path().join("missing")).expect_err("missing");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_is_written_is_read_from_cache_and_medium() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("file");
    let file = OsFs.open(&path, Mode::CreateNew).expect("new");
    assert_eq!(mode_of(&path), 0o600);
    let again = OsFs.open(&path, Mode::CreateNew).expect_err("it is there");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);

    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    let (head, tail) = bytes.split_at(1_234_567);
    let mut bufs = [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)];
    write_all_at(&*file, &mut bufs, 0).expect("written");
    file.sync_all().expect("synced");
    OsFs.sync_dir(temporary.path()).expect("synced");
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
    OsFs.rename(&path, &target).expect("renamed");
    assert!(OsFs.open(&path, Mode::Read).is_err());
    let reader = OsFs.open(&target, Mode::Read).expect("there");
    assert!(reader.write_at(&[IoSlice::new(b"x")], 0).is_err(), "for reading only");
    OsFs.remove(&target).expect("removed");
}

#[test]
fn an_allocation_takes_space_and_reads_as_zeroes() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let file = OsFs.open(&temporary.path().join("file"), Mode::CreateNew).expect("new");
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
fn a_lock_has_one_owner_who_is_named() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("LOCK");
    let lock = OsFs.lock(&path).expect("nobody has it");
    std::fs::write(&path, "a longer word of an owner who is gone").expect("writable");
    lock.describe().expect("written");
    let words = format!("process {}\n", std::process::id());
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), words);
    assert_eq!(OsFs.lock(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    OsFs.lock(&path).expect("given back");
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_page_is_seen_by_other_readers() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let path = temporary.path().join("status");
    std::fs::write(&path, [7; 9000]).expect("an older, longer page");
    let mut page = OsFs.page(&path, 4096).expect("mapped");
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
    assert!(OsFs.open(&link, Mode::ReadWrite).is_err());
    assert!(OsFs.lock(&link).is_err());
    assert!(OsFs.page(&link, 4096).is_err());
    assert_eq!(std::fs::read_to_string(&outside).expect("readable"), "foreign");
}
