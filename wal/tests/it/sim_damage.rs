//! What a simulated disk does wrong without a word: writes that were lost or landed elsewhere,
//! files that changed places.

use std::path::Path;

use forebay_wal::fs::Fs as _;
use forebay_wal::fs::sim::Survive;

use super::sim_disk::{DIR, FILE, PIECE, SECTOR, disk, every_outcome, put};

#[test]
fn a_lost_write_leaves_what_stood_there_before_and_nothing_else_changes() {
    let (fs, file) = disk();
    put(&*file, &[1; 3 * SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    let before = fs.image(Survive::Nothing);
    put(&*file, &[2; 4 * SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    fs.rename(Path::new(FILE), Path::new("/disk/other")).expect("it is there");
    fs.sync_dir(Path::new(DIR)).expect("no fault is planned");
    fs.lose_write("/disk/other", SECTOR as u64..2 * SECTOR as u64, &before);
    fs.lose_write("/disk/other", 3 * SECTOR as u64..9 * SECTOR as u64, &before);
    for outcome in every_outcome().take(10) {
        let bytes = fs.image(outcome).read_file("/disk/other");
        let sectors: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[7]).collect();
        assert_eq!(sectors, [2, 1, 2, 0], "{outcome:?}");
    }
    assert_eq!(before.read_file(FILE), [1; 3 * SECTOR], "the earlier image stays as it was");
}

#[test]
fn a_misplaced_write_stands_elsewhere_and_leaves_its_own_place_as_it_was() {
    let (fs, file) = disk();
    put(&*file, &[1; 2 * SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    let before = fs.image(Survive::Nothing);
    put(&*file, &[2; SECTOR], 0);
    file.sync_all().expect("no fault is planned");
    fs.write_file("/disk/other", &[3; 2 * SECTOR]);
    let ops = fs.ops();
    fs.misplace_write(FILE, 0..SECTOR as u64, &before, (FILE, SECTOR as u64));
    let bytes = fs.image(Survive::Nothing).read_file(FILE);
    assert_eq!((bytes[0], bytes[SECTOR]), (1, 2), "in the same file");
    fs.misplace_write(
        FILE,
        SECTOR as u64..2 * SECTOR as u64,
        &before,
        ("/disk/other", PIECE as u64),
    );
    let bytes = fs.image(Survive::Nothing).read_file("/disk/other");
    assert_eq!((bytes[PIECE - 1], bytes[PIECE], bytes[SECTOR + PIECE]), (3, 2, 3), "in another");
    assert_eq!(fs.read_file(FILE), [1; 2 * SECTOR]);
    assert_eq!(fs.ops(), ops, "not an operation");
}

#[test]
fn exchanged_files_keep_their_names_and_lengths_go_with_the_bytes() {
    let (fs, file) = disk();
    put(&*file, &[1; SECTOR], 0);
    fs.write_file("/disk/other", &[2; PIECE]);
    fs.exchange(FILE, "/disk/other");
    let after = fs.crash(Survive::Nothing);
    assert_eq!(after.read_file(FILE), [2; PIECE]);
    assert_eq!(after.read_file("/disk/other"), [1; SECTOR]);
}
