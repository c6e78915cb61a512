//! The kinds of disks that the program is tried on.

use std::time::Duration;

use crate::faults::{Call, Failure, Room, Traits};
use crate::random::Random;

/// What the program should make of a disk.
#[derive(Debug, Clone, Copy)]
pub enum Outlook {
    /// It works, through everything.
    Works,
    /// It says what the disk lacks, with these words, and does nothing.
    Refuses(&'static str),
    /// The disk breaks its word, so that losses must be found, at least in one of so many lives:
    /// this tries the trial itself.
    Breaks(u64),
}

#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub name: &'static str,
    pub outlook: Outlook,
    /// Calls fail now and then, while the power is on.
    pub fails: bool,
    change: fn(&mut Traits, &mut Random),
}

const fn works(name: &'static str, change: fn(&mut Traits, &mut Random)) -> Profile {
    Profile { name, outlook: Outlook::Works, fails: false, change }
}

pub const PROFILES: [Profile; 24] = [
    works("plain", |_, _| {}),
    works("one-journal", |traits, _| traits.one_journal = true),
    works("no-allocate", |traits, _| traits.no_allocate = true),
    works("no-direct", |traits, _| traits.no_direct = true),
    works("no-cache", |traits, _| traits.no_cache = true),
    works("no-room-told", |traits, _| traits.room = Room::Unsupported),
    works("no-room-known", |traits, _| traits.room = Room::Zeroes),
    works("no-blocks", |traits, _| traits.no_blocks = true),
    works("bare", |traits, _| bare(traits)),
    works("forgets-lengths", |traits, _| traits.forgets_lengths = true),
    works("loose-renames", |traits, _| traits.loose_renames = true),
    works("garbles", |traits, _| traits.garbles = true),
    works("short-writes", |traits, _| traits.short_writes = true),
    works("slow-sync", |traits, _| traits.slow_sync = Duration::from_millis(8)),
    works("small", |traits, random| traits.space_bytes = Some((600 + random.below(500)) << 10)),
    works("own-locks", |traits, _| traits.own_locks = true),
    works("stays-mounted", |traits, _| {
        traits.no_cache = true;
        traits.own_locks = true;
        traits.stays_mounted = true;
    }),
    works("everything", everything),
    Profile { name: "fails", outlook: Outlook::Works, fails: true, change: |_, _| {} },
    Profile {
        name: "bare-fails",
        outlook: Outlook::Works,
        fails: true,
        change: |traits, _| bare(traits),
    },
    Profile {
        name: "no-lock",
        outlook: Outlook::Refuses("has no locks"),
        fails: false,
        change: |traits, _| traits.no_lock = true,
    },
    Profile {
        name: "no-directory-sync",
        outlook: Outlook::Refuses("cannot sync a directory"),
        fails: false,
        change: |traits, _| traits.no_directory_sync = true,
    },
    Profile {
        name: "liar",
        outlook: Outlook::Breaks(3),
        fails: false,
        change: |traits, _| traits.lies = true,
    },
    Profile {
        name: "liar-of-names",
        outlook: Outlook::Breaks(15),
        fails: false,
        change: |traits, _| traits.lies_of_names = true,
    },
];

impl Profile {
    pub fn traits(&self, random: &mut Random) -> Traits {
        let mut traits = Traits::default();
        (self.change)(&mut traits, random);
        traits
    }
}

/// A file system that can do the least.
fn bare(traits: &mut Traits) {
    traits.no_allocate = true;
    traits.no_direct = true;
    traits.no_cache = true;
    traits.no_blocks = true;
    traits.room = Room::Zeroes;
}

/// Any mixture.
fn everything(traits: &mut Traits, random: &mut Random) {
    traits.no_allocate = random.percent(30);
    traits.no_direct = random.percent(50);
    traits.no_cache = random.percent(40);
    traits.no_blocks = random.percent(30);
    traits.room = random.pick(&[Room::Told, Room::Unsupported, Room::Zeroes]);
    traits.forgets_lengths = random.percent(50);
    traits.loose_renames = random.percent(50);
    traits.garbles = random.percent(50);
    traits.short_writes = random.percent(30);
    traits.slow_sync = Duration::from_millis(random.below(4));
}

/// Which calls fail in one run of the program.
pub fn failures(random: &mut Random) -> Vec<Failure> {
    const CALLS: [Call; 10] = [
        Call::Sync,
        Call::Sync,
        Call::Sync,
        Call::Write,
        Call::Write,
        Call::SyncDirectory,
        Call::Create,
        Call::Rename,
        Call::Allocate,
        Call::Remove,
    ];
    let mut failures = Vec::new();
    for _ in 0..=random.below(2) {
        let call = random.pick(&CALLS);
        let often = matches!(call, Call::Sync | Call::Write);
        let nth = 1 + random.below(if often { 80 } else { 6 });
        failures.push(Failure { call, nth, onwards: random.percent(25) });
    }
    failures
}
