//! A channel on a simulated disk and the model beside it, which live through a script together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_wal::fs::sim::{SimClock, SimFs, SimRandom, Survive};
use forebay_wal::{
    Channel, Check, CursorStart, Damage, DamageKind, Env, ErrorKind, PutTransaction, Receipt,
    TakeTransaction, Taken,
};

use crate::common::{event, known_id, options, sized};
use crate::lab::Lab;
use crate::model::{Change, DIR, Model, Seen, Verdict};
use crate::script::{CURSORS, Class, KEYS, Op, PRODUCERS};

/// In so many pieces may fall what one cursor of the small channel has not acknowledged.
const PIECES_MAX: usize = 32;
/// The put that fills a segment, with a few of its kind.
const ROLL_BYTES: u16 = 31_000;
/// More puts than fill a segment.
const ROLL_PUTS: usize = 6;

/// What a life had in it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub ops: u64,
    pub cuts: u64,
    pub kills: u64,
    pub opens: u64,
    pub events: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.ops += other.ops;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.opens += other.opens;
        self.events += other.events;
    }
}

/// How the planned end of the process comes.
#[derive(Debug, Clone, Copy)]
enum End {
    Power(Survive),
    Process,
}

struct OpenPut {
    put: PutTransaction,
    ids: Vec<u64>,
}

struct OpenTake {
    number: u64,
    cursor: String,
    take: TakeTransaction,
}

/// A channel and its model.
pub struct Life {
    pub lab: Lab,
    pub class: Class,
    pub channel: Option<Channel>,
    pub model: Model,
    pub report: Report,
    takes: Vec<OpenTake>,
    puts: Vec<OpenPut>,
    /// What each producer tried to put last.
    attempts: BTreeMap<&'static str, u64>,
    next_number: u64,
    /// How the disk ends when it does.
    end: End,
    /// Up to which operation of the disk faults are planned.
    faults_until: Option<u64>,
    /// Whether something may have failed since the channel was opened.
    failed: bool,
    /// Whether the power was cut since the last look, or a failure makes it the same.
    cut: bool,
    /// Whether a power cut is left as it is.
    holds: bool,
    /// Whether the disk was damaged on purpose.
    damaged: bool,
}

impl Life {
    /// An empty disk.
    pub fn new(seed: u64, class: Class) -> Life {
        let lab = Lab::new(seed);
        let lab = lab.with(options(class.sync()));
        Life {
            lab,
            class,
            channel: None,
            model: Model::new(&CURSORS[..2], class != Class::Commit),
            report: Report::default(),
            takes: Vec::new(),
            puts: Vec::new(),
            attempts: BTreeMap::new(),
            next_number: 1,
            end: End::Power(Survive::Nothing),
            faults_until: None,
            failed: false,
            cut: false,
            holds: false,
            damaged: false,
        }
    }

    /// The same life once more, as if the channel had been closed now and the disk synced; with a
    /// disk, a clock and randomness of its own.
    pub fn fork(&self, seed: u64) -> Life {
        self.on(self.lab.fs.image(Survive::Everything), seed)
    }

    /// The same life once more, as the power cut that it met and did not go on from leaves it.
    pub fn after_cut(&self, survive: Survive, seed: u64) -> Life {
        let mut life = self.on(self.lab.fs.crash(survive), seed);
        life.report.cuts += 1;
        life.cut = true;
        life
    }

    fn on(&self, fs: SimFs, seed: u64) -> Life {
        let mut model = self.model.clone();
        model.ended();
        let clock = SimClock::new();
        clock.advance(self.lab.env.clock.monotonic());
        clock.set_wall_us(self.lab.env.clock.wall_us());
        let (clock, random) = (Arc::new(clock), Arc::new(SimRandom::new(seed)));
        let lab = self.lab.on(fs);
        let env = Env { clock: clock.clone(), random, ..lab.env };
        Life {
            lab: Lab { env, clock, ..lab },
            channel: None,
            model,
            report: Report::default(),
            takes: Vec::new(),
            puts: Vec::new(),
            attempts: self.attempts.clone(),
            end: End::Power(Survive::Nothing),
            faults_until: None,
            holds: false,
            ..*self
        }
    }

    /// The disk was damaged on purpose, and that costs these seqs: one loss in the ledger.
    pub fn lose_on_purpose(&mut self, seqs: std::ops::Range<u64>) {
        self.model.lose_on_purpose(seqs);
        self.damaged = true;
    }

    /// Plans a power cut after which the life stands still, for [`Life::after_cut`].
    pub fn hold_at(&mut self, op: u64) {
        self.lab.fs.crash_at(op);
        self.holds = true;
    }

    /// Lives through one op; what the model has to say against it.
    pub fn step(&mut self, op: &Op) -> Verdict<()> {
        self.report.ops += 1;
        let now = self.lab.fs.ops();
        match *op {
            Op::Crash { survive } => self.die(End::Power(survive)),
            Op::Kill => self.die(End::Process),
            Op::CrashAt { ops, survive } => {
                self.plan_end(now + u64::from(ops), End::Power(survive))
            }
            Op::KillAt { ops } => self.plan_end(now + u64::from(ops), End::Process),
            Op::FailAt { ops, fault } => {
                self.lab.fs.fail_at(now + u64::from(ops), fault);
                self.expect_faults(now + u64::from(ops));
            }
            Op::FailFrom { ops, fault } => {
                self.lab.fs.fail_from(now + u64::from(ops), fault);
                self.expect_faults(u64::MAX);
            }
            Op::Heal => {
                self.lab.fs.heal();
                self.faults_until = None;
            }
            Op::Jump { seconds } => self.lab.clock.jump_wall_us(i64::from(seconds) * 1_000_000),
            Op::Advance { ms } => self.lab.clock.advance(Duration::from_millis(ms.into())),
            Op::Reopen => {
                self.close();
                self.ensure_open()?;
            }
            _ => {
                self.ensure_open()?;
                if let Some(channel) = self.channel.clone() {
                    self.act(&channel, op)?;
                    self.after(&channel)?;
                }
            }
        }
        if self.lab.fs.is_crashed() && !self.holds {
            self.die(self.end);
        }
        Ok(())
    }

    /// Whatever was planned, the channel opens and all is there.
    pub fn finish(&mut self) -> Verdict<()> {
        if self.lab.fs.is_crashed() {
            self.die(self.end);
        }
        self.lab.fs.heal();
        self.lab.fs.crash_at(u64::MAX);
        self.faults_until = None;
        self.close();
        self.ensure_open()
    }

    fn plan_end(&mut self, op: u64, end: End) {
        self.lab.fs.crash_at(op);
        self.end = end;
    }

    fn expect_faults(&mut self, until: u64) {
        self.faults_until = self.faults_until.max(Some(until));
        self.failed = true;
    }

    /// Whether the disk may refuse things for a reason that was planned.
    fn may_fail(&self) -> bool {
        self.failed || self.lab.fs.is_crashed()
    }

    /// Closes the channel, which touches nothing.
    pub fn close(&mut self) {
        self.takes.clear();
        self.puts.clear();
        self.channel = None;
        self.model.ended();
        // A weaker class may have lost pages to a failed sync: the next open reads the medium.
        self.cut |= self.failed && self.class != Class::Commit;
    }

    fn die(&mut self, end: End) {
        self.close();
        let fs = match end {
            End::Power(survive) => {
                self.report.cuts += 1;
                self.cut = true;
                self.lab.fs.crash(survive)
            }
            End::Process => {
                self.report.kills += 1;
                self.lab.fs.kill()
            }
        };
        self.lab = self.lab.on(fs);
        self.faults_until = None;
        self.end = End::Power(Survive::Nothing);
    }

    /// Opens the channel if it is not open, and looks at everything. It stays closed only if the
    /// disk ends or fails meanwhile.
    pub fn ensure_open(&mut self) -> Verdict<()> {
        if self.channel.is_some() || self.lab.fs.is_crashed() {
            return Ok(());
        }
        self.failed = self.faults_until.is_some_and(|until| until >= self.lab.fs.ops());
        self.check_finds_nothing()?;
        match self.lab.try_open() {
            Err(_) if self.may_fail() => {
                self.cut |= self.failed && self.class != Class::Commit;
                Ok(())
            }
            Err(error) => Err(format!("it does not open: {error} (P7)")),
            // The cut fell into the last things that opening does, which may fail.
            Ok(_) if self.lab.fs.is_crashed() => Ok(()),
            Ok(channel) => {
                self.report.opens += 1;
                self.check_finds_nothing()?;
                let seen = look(&channel)?;
                self.model.opened(&seen, self.cut)?;
                self.cut = false;
                self.channel = Some(channel);
                Ok(())
            }
        }
    }

    /// A disk that nothing but power cuts and failures have touched is not damaged. What a weaker
    /// class had acknowledged and not synced may be gone.
    fn check_finds_nothing(&self) -> Verdict<()> {
        let check = match Check::read_in(Path::new(DIR), &self.lab.copy().env, |_, _| {}) {
            // The power went before the channel was made.
            Err(error) if error.kind() == ErrorKind::NotAChannel => return Ok(()),
            Err(error) => return Err(format!("it cannot be checked: {error}")),
            Ok(check) => check,
        };
        let is_finding =
            |damage: &&Damage| self.class == Class::Commit || damage.kind != DamageKind::Unsynced;
        match check.damages.iter().find(is_finding).filter(|_| !self.damaged) {
            Some(damage) => Err(format!("a check finds {damage:?} (P6)")),
            None => Ok(()),
        }
    }

    /// After each op: what the ledger says, and what is surely on the disk.
    fn after(&mut self, channel: &Channel) -> Verdict<()> {
        if self.class == Class::Commit || self.lab.fs.is_crashed() {
            return Ok(());
        }
        // What was acknowledged may be lost right behind its acknowledgement.
        self.note_losses(channel)?;
        let is_log = |line: &String| line.starts_with("write") && line.contains(".wal");
        if !self.failed && !self.lab.fs.unsynced().iter().any(is_log) {
            self.model.all_is_sure();
        }
        Ok(())
    }

    fn note_losses(&mut self, channel: &Channel) -> Verdict<()> {
        if !self.failed || self.class == Class::Commit {
            return Ok(());
        }
        let stats = channel.stats();
        let lost: Vec<_> =
            stats.recent_losses.iter().map(|loss| loss.seqs.start..loss.seqs.end).collect();
        self.model.lose(stats.losses, &lost)
    }

    fn act(&mut self, channel: &Channel, op: &Op) -> Verdict<()> {
        match *op {
            Op::Put { events, bytes, position, producer } => {
                let mut put = OpenPut { put: channel.put_transaction(), ids: Vec::new() };
                (0..events).try_for_each(|_| self.add(&mut put, bytes))?;
                let position = position.map(|n| KEYS[usize::from(n) % KEYS.len()]);
                let producer = producer.map(|n| PRODUCERS[usize::from(n) % PRODUCERS.len()]);
                let sequence = producer.map(|name| self.attempts.get(name).map_or(1, |n| n + 1));
                self.commit_put(channel, put, position, producer.zip(sequence))
            }
            Op::Repeat { producer } => {
                let name = PRODUCERS[usize::from(producer) % PRODUCERS.len()];
                let Some(sequence) = self.attempts.get(name).copied() else { return Ok(()) };
                let mut put = OpenPut { put: channel.put_transaction(), ids: Vec::new() };
                self.add(&mut put, 30)?;
                self.commit_put(channel, put, None, Some((name, sequence)))
            }
            Op::Begin { bytes } => {
                let mut put = OpenPut { put: channel.put_transaction(), ids: Vec::new() };
                self.add(&mut put, bytes)?;
                self.puts.push(put);
                Ok(())
            }
            Op::Add { put, bytes } => {
                let Some(mut put) = pick(&mut self.puts, put) else { return Ok(()) };
                self.add(&mut put, bytes)?;
                self.puts.push(put);
                Ok(())
            }
            Op::CommitPut { put } => match pick(&mut self.puts, put) {
                Some(put) => self.commit_put(channel, put, None, None),
                None => Ok(()),
            },
            Op::RollbackPut { put } => {
                pick(&mut self.puts, put).into_iter().for_each(|put| put.put.rollback());
                Ok(())
            }
            Op::Take { cursor, events } => {
                let cursors = self.model.cursors();
                let name = CURSORS[usize::from(cursor) % CURSORS.len()].to_owned();
                let known = cursors.contains(&name).then_some(name);
                let Some(cursor) = known.or_else(|| cursors.first().cloned()) else {
                    return Ok(());
                };
                self.take(channel, &cursor, usize::from(events)).map(|_| ())
            }
            Op::Ack { take } => match pick(&mut self.takes, take) {
                Some(take) => self.ack(channel, take),
                None => Ok(()),
            },
            Op::Return { take } => {
                if let Some(take) = pick(&mut self.takes, take) {
                    take.take.rollback();
                    self.model.end_take(take.number);
                }
                Ok(())
            }
            _ => self.act_on_all(channel, op),
        }
    }

    fn act_on_all(&mut self, channel: &Channel, op: &Op) -> Verdict<()> {
        match *op {
            Op::Checkpoint => {
                channel.checkpoint();
                channel.tend();
            }
            Op::Tend => channel.tend(),
            Op::Idle => self.idle(channel),
            Op::Roll => {
                let count = |channel: &Channel| {
                    let stats = channel.stats();
                    (stats.segments_live, stats.segments_spare, stats.segments_free)
                };
                let before = count(channel);
                for _ in 0..ROLL_PUTS {
                    let mut put = OpenPut { put: channel.put_transaction(), ids: Vec::new() };
                    self.add(&mut put, ROLL_BYTES)?;
                    self.commit_put(channel, put, None, None)?;
                    if count(channel) != before || self.lab.fs.is_crashed() {
                        break;
                    }
                }
            }
            Op::Reclaim => {
                for cursor in self.model.cursors() {
                    while self.take(channel, &cursor, 1000)? {
                        let Some(take) = self.takes.pop() else { break };
                        self.ack(channel, take)?;
                    }
                }
                self.idle(channel);
            }
            Op::AddCursor { cursor, oldest } => {
                let cursor = CURSORS[usize::from(cursor) % CURSORS.len()];
                return self.add_cursor(channel, cursor, oldest);
            }
            Op::RemoveCursor { cursor } => {
                let cursor = CURSORS[usize::from(cursor) % CURSORS.len()];
                return self.remove_cursor(channel, cursor);
            }
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self, channel: &Channel) {
        self.lab.idle(channel);
        if self.class == Class::Interval && !self.may_fail() {
            self.model.all_is_sure();
        }
    }

    fn add(&mut self, put: &mut OpenPut, bytes: u16) -> Verdict<()> {
        let id = sized(self.next_number, bytes);
        match put.put.put(&event(id)) {
            Ok(()) => {
                self.next_number += 1;
                put.ids.push(id);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::TransactionTooLarge => Ok(()),
            Err(error) => Err(format!("an event of {bytes} bytes: {error}")),
        }
    }

    fn commit_put(
        &mut self,
        channel: &Channel,
        open: OpenPut,
        position: Option<&'static str>,
        producer: Option<(&'static str, u64)>,
    ) -> Verdict<()> {
        let OpenPut { mut put, ids } = open;
        let Some(&last) = ids.last() else { return Ok(()) };
        if let Some(key) = position {
            put.set_position(key, &last.to_le_bytes()).map_err(|error| error.to_string())?;
        }
        let (mut repeated, mut behind) = (false, false);
        if let Some((name, sequence)) = producer {
            put.set_producer(name, sequence).map_err(|error| error.to_string())?;
            repeated = self.model.sequence(name).is_some_and(|committed| sequence <= committed);
            behind = !repeated && self.model.refused_before(name, sequence);
        }
        let outcome = put.commit();
        if outcome.is_err() {
            self.note_losses(channel)?;
        }
        let count = ids.len() as u64;
        if repeated {
            return match outcome {
                Ok(receipt) if receipt.duplicate && receipt.events == count => Ok(()),
                other => Err(format!("a repeat of {producer:?} gave {other:?} (P4)")),
            };
        }
        let change = |first_seq| Change::Put {
            ids: ids.clone(),
            first_seq,
            position: position.map(|key| (key.to_owned(), last)),
            producer: producer.map(|(name, sequence)| (name.to_owned(), sequence)),
        };
        let kind = outcome.as_ref().map_err(forebay_wal::Error::kind);
        if !behind && let Some((name, sequence)) = producer {
            self.attempts.insert(name, sequence);
        }
        match (kind, &outcome) {
            (Err(ErrorKind::OutOfSequence), _) if behind => Ok(()),
            (Err(ErrorKind::Failed), _) if self.may_fail() => Ok(()),
            (Ok(_), Ok(receipt)) if !behind && !receipt.duplicate && receipt.events == count => {
                self.report.events += count;
                self.model.committed(change(Some(receipt.first_seq)))
            }
            (Err(ErrorKind::Full), _) if self.model.holds_something() || self.may_fail() => {
                producer.into_iter().for_each(|(name, n)| self.model.refused(name, n));
                Ok(())
            }
            (Err(ErrorKind::InDoubt), _) if self.may_fail() => {
                self.model.doubtful(change(None));
                Ok(())
            }
            _ => Err(format!("a put (held back: {behind}) gave {outcome:?}")),
        }
    }

    /// Takes, and keeps the take open; whether it got something.
    fn take(&mut self, channel: &Channel, cursor: &str, events: usize) -> Verdict<bool> {
        let begun = channel.take_transaction(cursor).and_then(|mut take| {
            let taken = take.take_many(events, usize::MAX)?;
            Ok((take, taken))
        });
        let (take, taken) = match begun {
            Ok(begun) => begun,
            Err(_) if self.may_fail() => return Ok(false),
            Err(error) => return Err(format!("{cursor} cannot take: {error}")),
        };
        self.note_losses(channel)?;
        let numbers: Vec<_> = taken.iter().map(|e| (e.seq, known_id(&e.bytes))).collect();
        // A disk that is gone may have been asked for the rest in vain.
        let pieces_max = if self.may_fail() { 0 } else { PIECES_MAX };
        let Some(number) = self.model.took(cursor, events, &numbers, pieces_max)? else {
            return Ok(false);
        };
        self.takes.push(OpenTake { number, cursor: cursor.to_owned(), take });
        Ok(true)
    }

    fn ack(&mut self, channel: &Channel, open: OpenTake) -> Verdict<()> {
        let count = open.take.len() as u64;
        let outcome = open.take.commit();
        if outcome.is_err() {
            self.note_losses(channel)?;
        }
        let Some(change) = self.model.end_take(open.number) else { return Ok(()) };
        self.control(change, count, outcome)
    }

    /// The outcome of a commit that needs no room.
    fn control(
        &mut self,
        change: Change,
        count: u64,
        outcome: forebay_wal::Result<Receipt>,
    ) -> Verdict<()> {
        match outcome {
            Ok(receipt) if receipt.events == count => self.model.committed(change),
            Err(error) if error.kind() == ErrorKind::InDoubt && self.may_fail() => {
                self.model.doubtful(change);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Failed && self.may_fail() => Ok(()),
            other => Err(format!("{change:?} gave {other:?}")),
        }
    }

    fn add_cursor(&mut self, channel: &Channel, cursor: &str, oldest: bool) -> Verdict<()> {
        if self.model.has_cursor(cursor) {
            return Ok(());
        }
        let start = if oldest { CursorStart::Oldest } else { CursorStart::Next };
        let unseen = Change::Made { cursor: cursor.to_owned(), waiting: None };
        match channel.add_cursor(cursor, start) {
            Ok(()) => {
                let seen = look_at(channel, cursor);
                let seen = match seen {
                    Ok(seen) => seen,
                    Err(_) if self.may_fail() => {
                        self.model.doubtful(unseen);
                        return Ok(());
                    }
                    Err(what) => return Err(what),
                };
                let made = self.model.made(cursor, oldest, &seen)?;
                self.model.committed(made)
            }
            Err(error) => {
                // One that begins at the next event waits for nothing.
                let waiting = (!oldest).then(Vec::new);
                let made = Change::Made { cursor: cursor.to_owned(), waiting };
                self.control(made, 0, Err(error))
            }
        }
    }

    fn remove_cursor(&mut self, channel: &Channel, cursor: &str) -> Verdict<()> {
        let cursors = self.model.cursors();
        if cursors.len() < 2 || !self.model.has_cursor(cursor) {
            return Ok(());
        }
        let takes = std::mem::take(&mut self.takes).into_iter();
        let (gone, kept): (Vec<_>, Vec<_>) = takes.partition(|take| take.cursor == cursor);
        self.takes = kept;
        for take in gone {
            self.model.end_take(take.number);
        }
        let outcome = channel.remove_cursor(cursor);
        let receipt = outcome.map(|()| 0);
        let removed = Change::Removed { cursor: cursor.to_owned() };
        match receipt {
            Ok(_) => self.model.committed(removed),
            Err(error) => self.control(removed, 0, Err(error)),
        }
    }
}

/// One of several, by a number that may be too high.
fn pick<T>(all: &mut Vec<T>, at: u8) -> Option<T> {
    if all.is_empty() {
        return None;
    }
    let at = usize::from(at) % all.len();
    Some(all.remove(at))
}

fn look_at(channel: &Channel, cursor: &str) -> Verdict<Vec<(u64, u64)>> {
    let failed = |error: forebay_wal::Error| format!("{cursor} cannot take: {error}");
    let mut take = channel.take_transaction(cursor).map_err(failed)?;
    let mut all = Vec::new();
    loop {
        let taken: Vec<Taken> = take.take_many(usize::MAX, usize::MAX).map_err(failed)?;
        if taken.is_empty() {
            return Ok(all);
        }
        for taken in taken {
            let id = known_id(&taken.bytes);
            let id = id.ok_or_else(|| format!("seq {} has wrong bytes (P6)", taken.seq))?;
            all.push((taken.seq, id));
        }
    }
}

/// All that an open channel shows.
pub fn look(channel: &Channel) -> Verdict<Seen> {
    let stats = channel.stats();
    let mut seen = Seen { next_seq: stats.next_seq, losses: stats.losses, ..Seen::default() };
    for loss in &stats.recent_losses {
        seen.lost.push(loss.seqs.start..loss.seqs.end);
    }
    for cursor in &stats.cursors {
        let events = look_at(channel, &cursor.name)?;
        if cursor.pending != events.len() as u64 {
            return Err(format!("{cursor:?} is said, and {} events come", events.len()));
        }
        seen.cursors.insert(cursor.name.clone(), events);
    }
    for (key, value) in channel.positions() {
        seen.positions.insert(key, value.to_vec());
    }
    for name in PRODUCERS {
        seen.producers.extend(channel.producer_sequence(name).map(|n| (name.to_owned(), n)));
    }
    Ok(seen)
}
