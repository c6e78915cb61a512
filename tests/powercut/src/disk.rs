//! A disk in memory, with what it has shown to programs and what it will still have after the power
//! went: two states of each file and directory, and the changes between them.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::{Call, CutAt, Failure, Traits};
use crate::random::Random;

pub const SECTOR_BYTES: usize = 512;
pub const PAGE_BYTES: u64 = 4096;
pub const ROOT: u64 = 1;

/// Why a call fails, in the words of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Io,
    Full,
    Missing,
    Exists,
    NotEmpty,
    NotADirectory,
    IsADirectory,
}

pub type Result<T> = std::result::Result<T, Refusal>;

/// What a program sees, what is durable, and what lies between.
#[derive(Debug, Default)]
pub struct File {
    pub bytes: Vec<u8>,
    durable: Vec<u8>,
    allocated: BTreeSet<u64>,
    allocated_durable: BTreeSet<u64>,
    pending: Vec<(u64, Change)>,
    /// What a failed sync left: shown, counted as clean, and gone with the power.
    doomed: Vec<(u64, Change)>,
    opens: u64,
    /// Who has locked it.
    locked: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
    Allocate { first: u64, end: u64 },
}

#[derive(Debug, Default)]
pub struct Directory {
    pub names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<(u64, Naming)>,
}

#[derive(Debug, Clone)]
enum Naming {
    Add(String, u64),
    Remove(String, u64),
    Move { from: String, to: String, node: u64 },
}

#[derive(Debug)]
pub enum Node {
    File(File),
    Directory(Directory),
}

/// What of the changes that no sync covers survives a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    Everything,
    /// All up to some change, which is torn.
    Prefix,
    /// Each sector or page by itself, in any order; so many in a hundred.
    Scattered {
        unit_bytes: usize,
        percent: u64,
    },
}

#[derive(Debug)]
pub struct Disk {
    pub traits: Traits,
    pub failures: Vec<Failure>,
    pub cut_at: Option<CutAt>,
    /// The power is gone: nothing answers.
    pub dead: bool,
    pub random: Random,
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Numbers the changes.
    clock: u64,
    /// Calls since the disk was started, by kind.
    calls: [u64; Call::KINDS],
}

impl Disk {
    pub fn new(traits: Traits, seed: u64) -> Disk {
        let nodes = BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]);
        Disk {
            traits,
            failures: Vec::new(),
            cut_at: None,
            dead: false,
            random: Random::new(seed),
            nodes,
            next_node: ROOT + 1,
            clock: 0,
            calls: [0; Call::KINDS],
        }
    }

    pub fn node(&self, node: u64) -> Result<&Node> {
        if self.dead {
            return Err(Refusal::Io);
        }
        self.nodes.get(&node).ok_or(Refusal::Missing)
    }

    pub fn file(&mut self, node: u64) -> Result<&mut File> {
        match self.nodes.get_mut(&node) {
            _ if self.dead => Err(Refusal::Io),
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Refusal::IsADirectory),
            None => Err(Refusal::Missing),
        }
    }

    pub fn directory(&mut self, node: u64) -> Result<&mut Directory> {
        match self.nodes.get_mut(&node) {
            _ if self.dead => Err(Refusal::Io),
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(Refusal::NotADirectory),
            None => Err(Refusal::Missing),
        }
    }

    pub fn lookup(&mut self, parent: u64, name: &str) -> Result<u64> {
        self.directory(parent)?.names.get(name).copied().ok_or(Refusal::Missing)
    }

    /// How many calls have changed something since the disk was started.
    pub fn calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// Counts a call and does it, unless it is the one that fails, or that the power goes at.
    fn call<T>(&mut self, call: Call, act: impl FnOnce(&mut Disk) -> Result<T>) -> Result<T> {
        if self.dead {
            return Err(Refusal::Io);
        }
        self.calls[call as usize] += 1;
        let of_kind = self.calls[call as usize];
        let cut = self.cut_at.filter(|cut| match cut.call {
            Some(kind) => kind == call && of_kind == cut.nth,
            None => self.calls() == cut.nth,
        });
        if let Some(cut) = cut {
            if cut.done {
                let _ = act(self);
            }
            self.dead = true;
            return Err(Refusal::Io);
        }
        let fails = |failure: &Failure| {
            let now = of_kind == failure.nth || (failure.onwards && of_kind > failure.nth);
            failure.call == call && now
        };
        if self.failures.iter().any(fails) {
            return Err(Refusal::Io);
        }
        act(self)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn used_bytes(&self) -> u64 {
        let files = self.nodes.values().filter_map(|node| match node {
            Node::File(file) => Some(file.allocated.len() as u64 * PAGE_BYTES),
            Node::Directory(_) => None,
        });
        files.sum()
    }

    /// Allocates pages of a file, as many as there is room for; how many were wanted and not had.
    fn take_pages(&mut self, node: u64, first: u64, end: u64) -> Result<u64> {
        let used = self.used_bytes() / PAGE_BYTES;
        let mut left = match self.traits.space_bytes {
            Some(space) => (space / PAGE_BYTES).saturating_sub(used),
            None => u64::MAX,
        };
        let file = self.file(node)?;
        for page in first..end {
            if !file.allocated.contains(&page) {
                if left == 0 {
                    return Ok(end - page);
                }
                left -= 1;
                file.allocated.insert(page);
            }
        }
        Ok(0)
    }

    /// Writes; how many bytes were taken.
    pub fn write(&mut self, node: u64, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.call(Call::Write, |disk| {
            let mut len = bytes.len();
            if disk.traits.short_writes && len > 1 && disk.random.percent(50) {
                len = 1 + disk.random.below(len as u64 - 1) as usize;
            }
            let (first, end) = pages(offset, offset + len as u64);
            let missing = disk.take_pages(node, first, end)?;
            if missing > 0 {
                let room = ((end - missing) * PAGE_BYTES).saturating_sub(offset) as usize;
                len = len.min(room);
                if len == 0 {
                    return Err(Refusal::Full);
                }
            }
            let (write, grow) = (disk.tick(), disk.tick());
            let offset = offset as usize;
            let file = disk.file(node)?;
            let change = Change::Write { offset, bytes: bytes[..len].to_vec() };
            if file.bytes.len() < offset + len {
                file.bytes.resize(offset + len, 0);
                // In front of what is written there: a length alone shows zeroes.
                file.pending.push((write, Change::Length(offset + len)));
            }
            file.pending.push((grow, Change::Allocate { first, end }));
            file.pending.push((grow, change));
            file.bytes[offset..offset + len].copy_from_slice(&bytes[..len]);
            Ok(len)
        })
    }

    pub fn set_length(&mut self, node: u64, length: u64) -> Result<()> {
        self.call(Call::SetLength, |disk| {
            let now = disk.tick();
            let file = disk.file(node)?;
            file.bytes.resize(length as usize, 0);
            file.allocated.split_off(&length.div_ceil(PAGE_BYTES));
            file.pending.push((now, Change::Length(length as usize)));
            Ok(())
        })
    }

    pub fn allocate(&mut self, node: u64, offset: u64, length: u64, grows: bool) -> Result<()> {
        self.call(Call::Allocate, |disk| {
            let (first, end) = pages(offset, offset + length);
            if disk.take_pages(node, first, end)? > 0 {
                return Err(Refusal::Full);
            }
            let now = disk.tick();
            let file = disk.file(node)?;
            file.pending.push((now, Change::Allocate { first, end }));
            let length = (offset + length) as usize;
            if grows && file.bytes.len() < length {
                file.bytes.resize(length, 0);
                file.pending.push((now, Change::Length(length)));
            }
            Ok(())
        })
    }

    /// The number of the newest change: a sync that begins now covers those up to it.
    pub fn now(&self) -> u64 {
        self.clock
    }

    /// Makes the changes of a file up to a number durable.
    pub fn sync(&mut self, node: u64, until: u64, data_only: bool) -> Result<()> {
        let lies = self.traits.lies;
        let forgets = data_only && self.traits.forgets_lengths;
        let done = self.call(Call::Sync, |disk| {
            let journal = disk.traits.one_journal;
            let file = disk.file(node)?;
            if !lies {
                file.settle(until, forgets);
            }
            if journal && !lies {
                disk.settle_names(until);
            }
            Ok(())
        });
        if done == Err(Refusal::Io) && !self.dead {
            let file = self.file(node)?;
            let covered = file.pending.iter().filter(|(number, _)| *number <= until).cloned();
            file.doomed.extend(covered.collect::<Vec<_>>());
            file.pending.retain(|(number, _)| *number > until);
        }
        done
    }

    pub fn sync_directory(&mut self, node: u64) -> Result<()> {
        self.call(Call::SyncDirectory, |disk| {
            let lies = disk.traits.lies_of_names;
            let (journal, now) = (disk.traits.one_journal, disk.clock);
            let directory = disk.directory(node)?;
            if !lies {
                directory.settle();
            }
            if journal && !lies {
                disk.settle_names(now);
            }
            Ok(())
        })
    }

    /// One journal: names and lengths go to the disk together, in order.
    fn settle_names(&mut self, until: u64) {
        for node in self.nodes.values_mut() {
            match node {
                Node::Directory(directory) => directory.settle(),
                Node::File(file) => file.settle_lengths(until),
            }
        }
    }

    pub fn create(&mut self, parent: u64, name: &str) -> Result<u64> {
        let file = Node::File(File { opens: 1, ..File::default() });
        self.call(Call::Create, |disk| disk.add(parent, name, file))
    }

    pub fn make_directory(&mut self, parent: u64, name: &str) -> Result<u64> {
        let directory = Node::Directory(Directory::default());
        self.call(Call::MakeDirectory, |disk| disk.add(parent, name, directory))
    }

    fn add(&mut self, parent: u64, name: &str, what: Node) -> Result<u64> {
        let (now, node) = (self.tick(), self.next_node);
        let directory = self.directory(parent)?;
        if directory.names.contains_key(name) {
            return Err(Refusal::Exists);
        }
        directory.names.insert(name.to_owned(), node);
        directory.pending.push((now, Naming::Add(name.to_owned(), node)));
        self.nodes.insert(node, what);
        self.next_node += 1;
        Ok(node)
    }

    pub fn remove(&mut self, parent: u64, name: &str) -> Result<()> {
        self.call(Call::Remove, |disk| {
            let (now, node) = (disk.tick(), disk.lookup(parent, name)?);
            if let Node::Directory(directory) = disk.node(node)?
                && !directory.names.is_empty()
            {
                return Err(Refusal::NotEmpty);
            }
            let directory = disk.directory(parent)?;
            directory.names.remove(name);
            directory.pending.push((now, Naming::Remove(name.to_owned(), node)));
            Ok(())
        })
    }

    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Result<()> {
        self.call(Call::Rename, |disk| {
            let loose = disk.traits.loose_renames || from.0 != to.0;
            let (first, second) = (disk.tick(), disk.tick());
            let node = disk.lookup(from.0, from.1)?;
            disk.directory(to.0)?.names.insert(to.1.to_owned(), node);
            let source = disk.directory(from.0)?;
            source.names.remove(from.1);
            let (from_name, to_name) = (from.1.to_owned(), to.1.to_owned());
            if loose {
                source.pending.push((second, Naming::Remove(from_name, node)));
                disk.directory(to.0)?.pending.push((first, Naming::Add(to_name, node)));
            } else {
                let naming = Naming::Move { from: from_name, to: to_name, node };
                source.pending.push((first, naming));
            }
            Ok(())
        })
    }

    pub fn opened(&mut self, node: u64) -> Result<()> {
        self.file(node).map(|file| file.opens += 1)
    }

    /// A descriptor is closed; a file that has neither names nor openers gives its room back.
    pub fn closed(&mut self, node: u64) {
        if let Some(Node::File(file)) = self.nodes.get_mut(&node) {
            file.opens = file.opens.saturating_sub(1);
        }
        self.forget_unnamed();
    }

    /// Locks a file for an owner; whether nobody else has it.
    pub fn lock(&mut self, node: u64, owner: u64) -> Result<bool> {
        let file = self.file(node)?;
        let free = file.locked.is_none_or(|holder| holder == owner);
        if free {
            file.locked = Some(owner);
        }
        Ok(free)
    }

    pub fn unlock(&mut self, node: u64, owner: u64) {
        if let Some(Node::File(file)) = self.nodes.get_mut(&node) {
            file.locked = file.locked.filter(|holder| *holder != owner);
        }
    }

    pub fn forget_unnamed(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Directory(directory) = node {
                named.extend(directory.names.values());
                named.extend(directory.durable.values());
                named.extend(directory.pending.iter().map(|(_, naming)| naming.node()));
            }
        }
        self.nodes.retain(|number, node| {
            named.contains(number) || matches!(node, Node::File(file) if file.opens > 0)
        });
    }

    /// The power comes back: what programs see from now on is what survived.
    pub fn revive(&mut self, names: Survival, data: Survival) {
        let limit = self.clock;
        let until = self.random.below(limit + 1);
        let (garbles, stays) = (self.traits.garbles, self.traits.stays_mounted);
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    file.survive(data, until, garbles, &mut self.random);
                    // A mount that is gone has no owners; one that stays hears of their end.
                    file.locked = file.locked.filter(|_| stays);
                }
                Node::Directory(directory) => directory.survive(names, until, &mut self.random),
            }
        }
        self.restart();
        self.forget_unnamed();
    }

    /// Nothing fails any more, and calls are counted afresh.
    pub fn restart(&mut self) {
        self.dead = false;
        self.cut_at = None;
        self.failures.clear();
        self.calls = [0; Call::KINDS];
    }

    /// Every file with its path and its bytes, as programs see them.
    pub fn tree(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut left = vec![(String::new(), ROOT)];
        while let Some((path, number)) = left.pop() {
            match self.nodes.get(&number) {
                Some(Node::File(file)) => files.push((path, file.bytes.clone())),
                Some(Node::Directory(directory)) => left.extend(
                    directory.names.iter().map(|(name, node)| (format!("{path}/{name}"), *node)),
                ),
                None => {}
            }
        }
        files
    }
}

impl File {
    pub fn blocks(&self) -> u64 {
        self.allocated.len() as u64 * (PAGE_BYTES / SECTOR_BYTES as u64)
    }

    fn settle(&mut self, until: u64, forgets_lengths: bool) {
        let mut kept = Vec::new();
        for (number, change) in std::mem::take(&mut self.pending) {
            let beyond = match &change {
                Change::Write { offset, bytes } => offset + bytes.len() > self.durable.len(),
                Change::Length(_) | Change::Allocate { .. } => true,
            };
            if number > until || (forgets_lengths && beyond) {
                kept.push((number, change));
            } else {
                // What was written later is not undone by what an earlier sync had lost.
                self.doomed.retain(|(_, doomed)| !doomed.meets(&change));
                self.land(&change);
            }
        }
        self.pending = kept;
    }

    fn settle_lengths(&mut self, until: u64) {
        let (metadata, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(number, change)| {
                *number <= until && !matches!(change, Change::Write { .. })
            });
        metadata.iter().for_each(|(_, change)| self.land(change));
        self.pending = rest;
    }

    /// A change becomes durable.
    fn land(&mut self, change: &Change) {
        match change {
            Change::Length(length) => {
                self.durable.resize(*length, 0);
                self.allocated_durable.split_off(&(*length as u64).div_ceil(PAGE_BYTES));
            }
            Change::Allocate { first, end } => self.allocated_durable.extend(*first..*end),
            Change::Write { offset, bytes } => {
                let end = (offset + bytes.len()).min(self.durable.len());
                if *offset < end {
                    self.durable[*offset..end].copy_from_slice(&bytes[..end - offset]);
                }
            }
        }
    }

    fn survive(&mut self, survival: Survival, until: u64, garbles: bool, random: &mut Random) {
        // What a failed sync left is gone, or as good as any other unsynced write.
        let mut changes =
            if random.percent(50) { std::mem::take(&mut self.doomed) } else { Vec::new() };
        changes.append(&mut self.pending);
        self.doomed.clear();
        changes.sort_by_key(|(number, _)| *number);
        match survival {
            Survival::Nothing => {}
            Survival::Everything => changes.iter().for_each(|(_, change)| self.land(change)),
            Survival::Prefix => {
                let behind = changes.partition_point(|(number, _)| *number <= until);
                changes[..behind].iter().for_each(|(_, change)| self.land(change));
                if let Some((_, torn)) = changes.get(behind) {
                    self.land_in_part(torn, SECTOR_BYTES, 50, garbles, random);
                }
            }
            Survival::Scattered { unit_bytes, percent } => {
                let (mut writes, others): (Vec<_>, Vec<_>) =
                    changes.iter().partition(|(_, change)| matches!(change, Change::Write { .. }));
                // Lengths keep their order among themselves.
                for (_, change) in others {
                    if random.percent(percent) {
                        self.land(change);
                    }
                }
                random.shuffle(&mut writes);
                for (_, write) in writes {
                    self.land_in_part(write, unit_bytes, percent, garbles, random);
                }
            }
        }
        self.bytes.clone_from(&self.durable);
        self.allocated.clone_from(&self.allocated_durable);
        self.opens = 0;
    }

    /// Each unit of a write lands, or does not, or leaves what was never written.
    fn land_in_part(
        &mut self,
        change: &Change,
        unit_bytes: usize,
        percent: u64,
        garbles: bool,
        random: &mut Random,
    ) {
        let Change::Write { offset, bytes } = change else { return };
        let (mut at, end) = (*offset, offset + bytes.len());
        while at < end {
            let next = end.min((at / unit_bytes + 1) * unit_bytes);
            let mut piece = bytes[at - offset..next - offset].to_vec();
            let lands = random.percent(percent);
            if garbles && !lands && random.percent(20) {
                piece.fill_with(|| random.next() as u8);
                self.land(&Change::Write { offset: at, bytes: piece });
            } else if lands {
                self.land(&Change::Write { offset: at, bytes: piece });
            }
            at = next;
        }
    }
}

impl Change {
    /// Whether both say something of the same bytes.
    fn meets(&self, other: &Change) -> bool {
        match (self, other) {
            (
                Change::Write { offset, bytes },
                Change::Write { offset: other, bytes: other_bytes },
            ) => *offset < other + other_bytes.len() && *other < offset + bytes.len(),
            (Change::Allocate { .. }, _) | (_, Change::Allocate { .. }) => false,
            _ => true,
        }
    }
}

impl Directory {
    fn settle(&mut self) {
        for (_, naming) in std::mem::take(&mut self.pending) {
            self.land(&naming);
        }
    }

    fn land(&mut self, naming: &Naming) {
        match naming {
            Naming::Add(name, node) => {
                self.durable.insert(name.clone(), *node);
            }
            Naming::Remove(name, node) => {
                if self.durable.get(name) == Some(node) {
                    self.durable.remove(name);
                }
            }
            Naming::Move { from, to, node } => {
                self.land(&Naming::Remove(from.clone(), *node));
                self.durable.insert(to.clone(), *node);
            }
        }
    }

    fn survive(&mut self, survival: Survival, until: u64, random: &mut Random) {
        for (number, naming) in std::mem::take(&mut self.pending) {
            let lands = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::Prefix => number <= until,
                Survival::Scattered { percent, .. } => random.percent(percent),
            };
            if lands {
                self.land(&naming);
            }
        }
        self.names.clone_from(&self.durable);
    }
}

impl Naming {
    fn node(&self) -> u64 {
        match self {
            Naming::Add(_, node) | Naming::Remove(_, node) | Naming::Move { node, .. } => *node,
        }
    }
}

/// The pages of a range.
fn pages(start: u64, end: u64) -> (u64, u64) {
    (start / PAGE_BYTES, end.div_ceil(PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Survival = Survival::Nothing;

    fn disk(traits: Traits) -> (Disk, u64) {
        let mut disk = Disk::new(traits, 1);
        let file = disk.create(ROOT, "file").expect("a new name");
        disk.sync_directory(ROOT).expect("synced");
        (disk, file)
    }

    fn synced(disk: &mut Disk, file: u64) {
        let now = disk.now();
        disk.sync(file, now, true).expect("synced");
    }

    fn bytes(disk: &mut Disk, file: u64) -> Vec<u8> {
        disk.file(file).expect("it is there").bytes.clone()
    }

    #[test]
    fn what_a_sync_covers_stays_and_the_rest_may_go() {
        let (mut disk, file) = disk(Traits::default());
        disk.write(file, 0, b"one").expect("written");
        synced(&mut disk, file);
        disk.write(file, 3, b"two").expect("written");
        assert_eq!(bytes(&mut disk, file), b"onetwo");
        disk.revive(NOTHING, NOTHING);
        assert_eq!(bytes(&mut disk, file), b"one");
    }

    #[test]
    fn a_sync_does_not_cover_what_was_written_after_it_had_begun() {
        let (mut disk, file) = disk(Traits::default());
        disk.write(file, 0, b"one").expect("written");
        let begun = disk.now();
        disk.write(file, 0, b"two").expect("written");
        disk.sync(file, begun, true).expect("synced");
        disk.revive(NOTHING, NOTHING);
        assert_eq!(bytes(&mut disk, file), b"one");
    }

    #[test]
    fn names_need_a_sync_of_their_directory() {
        let (mut disk, file) = disk(Traits::default());
        let other = disk.create(ROOT, "other").expect("a new name");
        synced(&mut disk, other);
        disk.rename((ROOT, "file"), (ROOT, "renamed")).expect("renamed");
        disk.revive(NOTHING, NOTHING);
        assert_eq!(disk.lookup(ROOT, "file"), Ok(file));
        assert_eq!(disk.lookup(ROOT, "renamed"), Err(Refusal::Missing));
        assert_eq!(disk.lookup(ROOT, "other"), Err(Refusal::Missing));
    }

    #[test]
    fn a_failed_sync_leaves_clean_pages_that_the_next_one_does_not_write() {
        let (mut disk, file) = disk(Traits::default());
        disk.write(file, 0, b"lost").expect("written");
        disk.failures = vec![Failure { call: Call::Sync, nth: 1, onwards: false }];
        let now = disk.now();
        assert_eq!(disk.sync(file, now, true), Err(Refusal::Io));
        synced(&mut disk, file);
        assert_eq!(bytes(&mut disk, file), b"lost");
        disk.revive(NOTHING, NOTHING);
        assert_eq!(bytes(&mut disk, file), b"");
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors_of_before_or_after() {
        let (mut disk, file) = disk(Traits::default());
        disk.write(file, 0, &[1; 8192]).expect("written");
        synced(&mut disk, file);
        disk.write(file, 0, &[2; 8192]).expect("written");
        let torn = Survival::Scattered { unit_bytes: SECTOR_BYTES, percent: 50 };
        disk.revive(NOTHING, torn);
        let bytes = bytes(&mut disk, file);
        let sectors: Vec<&[u8]> = bytes.chunks(SECTOR_BYTES).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(sectors.iter().any(|sector| sector[0] == 1));
        assert!(sectors.iter().any(|sector| sector[0] == 2));
    }

    #[test]
    fn the_power_goes_before_or_after_the_call_that_was_named_and_nothing_answers() {
        for (done, expected) in [(false, &b""[..]), (true, b"x")] {
            let (mut disk, file) = disk(Traits::default());
            disk.cut_at = Some(CutAt { call: Some(Call::Write), nth: 1, done });
            assert_eq!(disk.write(file, 0, b"x"), Err(Refusal::Io));
            assert!(disk.dead && disk.file(file).is_err());
            disk.revive(NOTHING, Survival::Everything);
            assert_eq!(bytes(&mut disk, file), expected);
        }
    }

    #[test]
    fn a_full_disk_takes_what_has_its_place_and_gives_back_what_is_removed() {
        let space_bytes = Some(4 * PAGE_BYTES);
        let (mut disk, file) = disk(Traits { space_bytes, ..Traits::default() });
        disk.allocate(file, 0, 4 * PAGE_BYTES, true).expect("there is room");
        let other = disk.create(ROOT, "other").expect("a new name");
        assert_eq!(disk.write(other, 0, b"x"), Err(Refusal::Full));
        disk.write(file, 0, &[1; 4 * PAGE_BYTES as usize]).expect("it has its place");
        disk.closed(file);
        disk.remove(ROOT, "file").expect("removed");
        disk.sync_directory(ROOT).expect("synced");
        disk.forget_unnamed();
        disk.write(other, 0, b"x").expect("there is room again");
    }
}
