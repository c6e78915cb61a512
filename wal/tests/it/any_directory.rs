//! Whatever stands in the directory, the channel opens, works, and leaves alone what is not its own.

use std::path::{Path, PathBuf};

use forebay_wal::fs::sim::{SimFs, Survive};

use forebay_proof::lab::{Lab, SECTOR, ack, drain, for_seeds, peek, put};
use forebay_proof::life::Life;
use forebay_proof::model::{DIR, Dice};
use forebay_proof::script::{Class, Recipe, Script};

/// More calls to the disk than any open of so small a channel needs.
const OPS_MAX: u64 = 5000;

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A directory as a random life leaves it, and an older copy of it.
fn lived(seed: u64) -> (Lab, SimFs) {
    let class = if seed.is_multiple_of(3) { Class::Os } else { Class::Commit };
    let mut life = Life::new(seed, class);
    let mut older = None;
    let script = Script::random(seed, class, Recipe::calm(150 + (seed % 200) as usize));
    for (step, op) in script.ops.iter().enumerate() {
        life.step(op).unwrap_or_else(|what| panic!("step {step}: {what}"));
        if step == 80 {
            // The disk as it is seen now, while the life goes on.
            older = Some(life.lab.fs.image(Survive::Everything));
        }
    }
    life.close();
    (life.lab, older.expect("it came that far"))
}

fn noise(dice: &mut Dice, len: u64) -> Vec<u8> {
    (0..len).map(|_| dice.any() as u8).collect()
}

/// Does something to the directory.
fn mutate(lab: &Lab, older: &SimFs, dice: &mut Dice) {
    let own = ["checkpoint.a", "checkpoint.b", "LOCK", "status"];
    let mut files = lab.segments();
    files.extend(own.iter().map(|name| path(name)).filter(|path| lab.fs.exists(path)));
    if files.is_empty() {
        return;
    }
    let file = files[dice.below(files.len() as u64) as usize].clone();
    let other = files[dice.below(files.len() as u64) as usize].clone();
    let len = lab.fs.read_file(&file).len() as u64;
    let place = dice.below(len.max(1));
    match dice.below(14) {
        0 => lab.fs.flip_bit(&file, place, dice.below(8) as u8),
        1 => {
            let bytes = noise(dice, 200);
            lab.fs.overwrite(&file, place, &bytes);
        }
        2 => lab.fs.truncate(&file, place),
        3 => lab.fs.truncate(&file, len + 10_000),
        4 => lab.fs.zero_sectors(&file, place..place + 9000),
        5 => lab.fs.remove_quietly(&file),
        6 => lab.fs.copy_over(&file, &other),
        7 => {
            // A stale lap comes back, or one block stands where another one should.
            if older.exists(&file) {
                lab.fs.write_file(&file, &older.read_file(&file));
            }
        }
        8 => {
            let bytes = lab.fs.read_file(&other);
            let from = (dice.below(bytes.len() as u64 + 1) / SECTOR * SECTOR) as usize;
            let until = (from + 3 * SECTOR as usize).min(bytes.len());
            let to = place / SECTOR * SECTOR;
            lab.fs.overwrite(&file, to, &bytes[from..until]);
        }
        9 => {
            let label = dice.below(20);
            let len = [0, 1, 127, 128, 5000, 140_000][dice.below(6) as usize];
            let bytes = noise(dice, len);
            lab.fs.write_file(path(&format!("{label:020}.wal")), &bytes);
        }
        10 => {
            let label = dice.below(30);
            lab.fs.write_file(path(&format!("{label:020}.new")), b"begun");
        }
        11 => {
            let label = dice.below(1 << 62);
            lab.fs.write_file(path(&format!("{label:020}.wal")), &lab.fs.read_file(&file));
        }
        12 => {
            lab.fs.write_file(path("quarantine/00000000000000000002-0000004096.damaged"), b"old");
        }
        _ => files.iter().filter(|_| dice.below(2) == 0).for_each(|file| {
            lab.fs.remove_quietly(file);
        }),
    }
}

/// Names that nobody but a person would give.
fn add_foreign(lab: &Lab) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["notes.txt", "1.wal", "00000000000000000001.wal.bak", "checkpoint.c", "lost/deep"];
    let foreign = names.map(|name| (path(name), name.as_bytes().to_vec()));
    for (path, bytes) in &foreign {
        lab.fs.write_file(path, bytes);
    }
    foreign.to_vec()
}

/// Opens, works, opens again.
fn verify(lab: &Lab, foreign: &[(PathBuf, Vec<u8>)]) {
    let before = lab.fs.ops();
    let channel = lab.open();
    let ops = lab.fs.ops() - before;
    assert!(ops < OPS_MAX, "{ops} calls to open it");
    for cursor in ["main", "second"] {
        // Wrong bytes would be noticed here.
        peek(&channel, cursor);
        drain(&channel, cursor);
    }
    lab.idle(&channel);
    lab.idle(&channel);
    let reclaimed = channel.stats().segments_live == 1;
    assert!(reclaimed, "{:?}", channel.stats());
    let ids: Vec<u64> = (2_000_000..2_000_200).collect();
    for pair in ids.chunks(10) {
        put(&channel, pair.iter().copied()).expect("it takes puts");
    }
    ack(&channel, "main", 100);
    let losses = channel.stats().losses;
    drop(channel);
    lab.inspect();
    let channel = lab.open();
    assert_eq!(channel.stats().losses, losses, "{:?}", channel.stats().recent_losses);
    let seen: Vec<u64> = peek(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, ids[100..]);
    let seen: Vec<u64> = peek(&channel, "second").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, ids);
    for (path, bytes) in foreign {
        assert_eq!(&lab.fs.read_file(path), bytes, "{}", path.display());
    }
}

#[test]
fn p7_any_directory_opens_and_works() {
    for_seeds(300, |seed| {
        let mut dice = Dice::new(seed ^ 0xd1);
        let (lab, older) = lived(seed);
        for _ in 0..=dice.below(6) {
            mutate(&lab, &older, &mut dice);
        }
        let foreign = add_foreign(&lab);
        verify(&lab, &foreign);
    });
}

#[test]
fn p7_noise_alone_becomes_a_channel() {
    for_seeds(40, |seed| {
        let lab = Lab::new(seed);
        let mut dice = Dice::new(seed);
        for label in 0..dice.below(6) {
            let len = dice.below(200_000);
            let bytes = noise(&mut dice, len);
            lab.fs.write_file(path(&format!("{label:020}.wal")), &bytes);
        }
        for name in ["checkpoint.a", "checkpoint.b", "status", "LOCK"] {
            let bytes = noise(&mut dice, 100);
            lab.fs.write_file(path(name), &bytes);
        }
        let foreign = add_foreign(&lab);
        verify(&lab, &foreign);
    });
}

#[test]
fn p7_directories_with_the_channels_own_names_are_left_alone() {
    let names = [
        "00000000000000000001.wal",
        "00000000000000000002.wal",
        "00000000000000000003.new",
        "00000000000000000009.wal",
        "checkpoint.a",
        "checkpoint.b",
        "status",
    ];
    for name in names {
        for there_before in [false, true] {
            let lab = Lab::new(3);
            if there_before {
                let channel = lab.open();
                put(&channel, 1..4).expect("room");
            }
            if lab.fs.exists(path(name)) {
                lab.fs.remove_quietly(path(name));
            }
            let inside = path(name).join("mine");
            lab.fs.write_file(&inside, b"mine");
            verify(&lab, &[(inside, b"mine".to_vec())]);
        }
    }
}

#[test]
fn p7_a_file_named_quarantine_is_no_reason_to_stop() {
    let (lab, older) = lived(5);
    lab.fs.write_file(path("quarantine"), b"a file");
    let mut dice = Dice::new(9);
    for _ in 0..5 {
        mutate(&lab, &older, &mut dice);
    }
    if lab.fs.exists(path("quarantine/00000000000000000002-0000004096.damaged")) {
        return;
    }
    verify(&lab, &[(path("quarantine"), b"a file".to_vec())]);
}
