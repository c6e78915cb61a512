//! The life of one channel on one disk: puts and takes, most of them cut off, and a check of all
//! that came of it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::BackgroundSession;
use serde_json::Value;

use crate::disk::{Disk, SECTOR_BYTES, Survival};
use crate::faults::{Call, CutAt};
use crate::ledger::{Ledger, Run, Taking};
use crate::mount::{Plug, mount};
use crate::profile::{Outlook, Profile, failures};
use crate::program::{self, End, Feed, Ran};
use crate::random::Random;

/// Longest time until a cut by the clock.
const CUT_AFTER_MS: u64 = 120;
/// Most of the time the channel is kept from being full, which would only wait.
const PENDING_BYTES_MAX: u64 = 450 << 10;

/// What was done, over all lives.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub lives: u64,
    pub rounds: u64,
    pub cuts: u64,
    pub kills: u64,
    pub failed_runs: u64,
    pub full: u64,
    pub looks: u64,
    pub lines_acked: u64,
    pub lines_delivered: u64,
    pub lines_again: u64,
    pub violations: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.rounds += other.rounds;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.failed_runs += other.failed_runs;
        self.full += other.full;
        self.looks += other.looks;
        self.lines_acked += other.lines_acked;
        self.lines_delivered += other.lines_delivered;
        self.lines_again += other.lines_again;
        self.violations += other.violations;
    }
}

/// How a life begins.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    pub binary: &'a Path,
    pub profile: Profile,
    pub seed: u64,
    /// Where the disk's files go when something is wrong.
    pub keep: Option<&'a Path>,
    pub verbose: bool,
    /// The channel gets the byte limit that it has without a word.
    pub default_limit: bool,
}

pub struct Life<'a> {
    setting: Setting<'a>,
    random: Random,
    plug: Arc<Plug>,
    at: tempfile::TempDir,
    session: Option<BackgroundSession>,
    channel: PathBuf,
    bytes_max: u64,
    ledger: Ledger,
    tally: Tally,
    /// The disk as it came back from the last cut.
    image: Vec<(String, Vec<u8>)>,
    story: Vec<String>,
}

type Checked<T> = Result<T, String>;

impl<'a> Life<'a> {
    pub fn new(setting: Setting<'a>) -> std::io::Result<Life<'a>> {
        let mut random = Random::new(setting.seed);
        let traits = setting.profile.traits(&mut random);
        let plug = Plug::new(Disk::new(traits, random.next()));
        let at = tempfile::Builder::new().prefix("powercut-").tempdir()?;
        let session = Some(mount(&plug, at.path())?);
        // Sometimes there are directories to be made.
        let channel = at.path().join(random.pick(&["c", "a/b/c"]));
        let small = plug.disk().traits.space_bytes.is_some();
        let bytes_max = if small { 1 } else { random.pick(&[1, 1, 1, 2, 8]) } << 20;
        Ok(Life {
            setting,
            random,
            plug,
            at,
            session,
            channel,
            bytes_max,
            ledger: Ledger::default(),
            tally: Tally { lives: 1, ..Tally::default() },
            image: Vec::new(),
            story: Vec::new(),
        })
    }

    /// Lives it; what was done, and what went against the promises.
    pub fn live(mut self, rounds: u64) -> (Tally, Option<String>) {
        let mut outcome = Ok(());
        for _ in 0..rounds {
            outcome = self.round();
            if outcome.is_err() || self.word().is_some() {
                break;
            }
        }
        let outcome = outcome.and_then(|()| self.finish());
        self.tally.lines_acked = self.ledger.acked();
        let Err(violation) = outcome else { return (self.tally, None) };
        self.tally.violations = 1;
        let kept = self.keep().unwrap_or_else(|error| format!("nothing was kept: {error}"));
        let Setting { profile, seed, .. } = &self.setting;
        let text = format!(
            "profile {}, seed {seed}: {violation}\n  {}\n  {kept}",
            profile.name,
            self.story.join("\n  "),
        );
        (self.tally, Some(text))
    }

    fn round(&mut self) -> Checked<()> {
        self.tally.rounds += 1;
        let space = self.plug.disk().traits.space_bytes;
        let pending_max = space.map_or(PENDING_BYTES_MAX, |space| space / 4);
        let crowded = self.ledger.pending_bytes() > pending_max;
        if let Some(word) = self.word() {
            return self.refused(word);
        }
        if crowded && !self.random.percent(3) || self.random.percent(30) {
            self.take()?;
        } else {
            self.put()?;
        }
        self.look()
    }

    /// A cut, a kill, or none, and what fails until then.
    fn plan(&mut self) -> End {
        let most_ms = self.random.pick(&[CUT_AFTER_MS / 8, CUT_AFTER_MS]);
        let after = Duration::from_micros(self.random.below(most_ms * 1000));
        let fails = self.setting.profile.fails && self.random.percent(60);
        let mut disk = self.plug.disk();
        if fails {
            disk.failures = failures(&mut self.random);
        }
        match self.random.below(100) {
            0..15 => End::Itself,
            15..27 => End::Kill(after),
            27..58 => End::Cut(after),
            _ => {
                let most = self.random.pick(&[10, 30, 100, 300]);
                let nth = 1 + self.random.below(most);
                let kinds = [Call::Write, Call::Sync, Call::SyncDirectory, Call::Rename];
                let (call, nth) = match self.random.below(10) {
                    0..6 => (None, nth),
                    6..9 => (Some(self.random.pick(&kinds[..2])), 1 + nth / 2),
                    _ => (Some(self.random.pick(&kinds[2..])), 1 + nth % 9),
                };
                disk.cut_at = Some(CutAt { call, nth, done: self.random.percent(50) });
                // If the disk does not get as far, then by the clock.
                End::Cut(Duration::from_millis(2 * CUT_AFTER_MS))
            }
        }
    }

    fn put(&mut self) -> Checked<()> {
        let end = self.plan();
        let many = match end {
            End::Itself => self.random.pick(&[5, 40, 300]),
            // More than there is time for, and sometimes room.
            End::Cut(_) | End::Kill(_) => self.random.pick(&[40, 300, 3000]),
        };
        let feed = Feed {
            run: self.ledger.runs.len(),
            lines: 1 + self.random.below(many),
            burst: 1 + self.random.below(30),
            pause: Duration::from_micros(self.random.pick(&[0, 0, 300, 2000])),
        };
        let batch = self.random.pick(&[1, 3, 20, 100, 1000]);
        let arguments = ["put".into(), self.directory(), "--ack".into()];
        let mut arguments = Vec::from(arguments);
        arguments.extend(["--batch".into(), format!("{batch}")]);
        if !self.setting.default_limit {
            arguments.extend(["--bytes-max".into(), format!("{}", self.bytes_max)]);
        }
        let ran = self.run(&arguments, Some(feed), end)?;
        let acked = ran.acked()?;
        self.ledger.runs.push(Run::new(ran.fed, acked));
        self.tell(&format!("put {feed:?} batch {batch} {end:?}: {acked} acknowledged"), &ran);
        if !ran.killed {
            match ran.exit.code() {
                Some(0) if acked == feed.lines => {}
                Some(2) if ran.complaint.contains("is full") => self.tally.full += 1,
                Some(2) if self.setting.profile.fails => self.tally.failed_runs += 1,
                _ => return Err(format!("put ended with {}: {}", ran.exit, ran.complaint.trim())),
            }
        }
        self.after(&ran, end)
    }

    fn take(&mut self) -> Checked<()> {
        let end = self.plan();
        let max = self.random.percent(60).then(|| 1 + self.random.below(300));
        let batch = self.random.pick(&[1, 10, 100, 1000]);
        let mut arguments = Vec::from(["take".into(), self.directory()]);
        arguments.extend(["--batch".into(), format!("{batch}")]);
        if let Some(max) = max {
            arguments.extend(["--max".into(), format!("{max}")]);
        }
        let ran = self.run(&arguments, None, end)?;
        self.taken(&ran, batch, max, &format!("take batch {batch} max {max:?} {end:?}"))?;
        self.after(&ran, end)
    }

    /// Checks what a take printed.
    fn taken(&mut self, ran: &Ran, batch: usize, max: Option<u64>, what: &str) -> Checked<()> {
        let lines = ran.lines()?;
        self.tell(&format!("{what}: {} taken", lines.len()), ran);
        let fine = ran.exit.code() == Some(0);
        let no_channel = self.ledger.acked() == 0 && ran.complaint.contains("no channel");
        if !ran.killed && !fine && !no_channel {
            if !self.setting.profile.fails {
                return Err(format!("take ended with {}: {}", ran.exit, ran.complaint.trim()));
            }
            self.tally.failed_runs += 1;
        }
        let drained = fine && max.is_none_or(|max| (lines.len() as u64) < max);
        let in_doubt = if fine { 0 } else { batch };
        self.tally.lines_again += self.ledger.deliver(&lines, Taking { in_doubt, drained })?;
        self.tally.lines_delivered += lines.len() as u64;
        Ok(())
    }

    /// What `stat` says must fit to what is known.
    fn look(&mut self) -> Checked<()> {
        self.tally.looks += 1;
        let arguments = ["stat".into(), self.directory(), "--json".into()];
        let ran = self.run(&arguments, None, End::Itself)?;
        let (least, most) = self.ledger.pending();
        match ran.exit.code() {
            Some(0) => {}
            Some(2) if self.ledger.acked() == 0 => return Ok(()),
            _ => {
                let output = String::from_utf8_lossy(&ran.output);
                return Err(format!("stat: {} {} {output}", ran.exit, ran.complaint.trim()));
            }
        }
        let figures: Value = serde_json::from_slice(&ran.output)
            .map_err(|error| format!("stat prints no JSON object: {error}"))?;
        let events = figures["events"].as_u64().ok_or("stat tells no number of events")?;
        if events < least || events > most {
            return Err(format!("stat sees {events} events; there are {least} to {most}"));
        }
        Ok(())
    }

    /// The power may go after a run as well, and must after a cut.
    fn after(&mut self, ran: &Ran, end: End) -> Checked<()> {
        let dead = self.plug.disk().dead;
        let cut = match end {
            End::Cut(_) => true,
            End::Itself => self.random.percent(60),
            End::Kill(_) => false,
        };
        if dead || cut {
            self.plug.pull();
            self.power_cycle()?;
        } else {
            self.tally.kills += u64::from(ran.killed);
            self.plug.disk().restart();
        }
        Ok(())
    }

    /// The disk comes back with some of what no sync had covered.
    fn power_cycle(&mut self) -> Checked<()> {
        self.tally.cuts += 1;
        let stays = self.plug.disk().traits.stays_mounted;
        if !stays {
            self.unmount()?;
        }
        let survival = |random: &mut Random| match random.below(10) {
            0 | 1 => Survival::Nothing,
            2 => Survival::Everything,
            3..6 => Survival::Prefix,
            _ => Survival::Scattered {
                unit_bytes: random.pick(&[SECTOR_BYTES, SECTOR_BYTES, 4096, 65536]),
                percent: random.pick(&[10, 50, 90]),
            },
        };
        let (names, data) = (survival(&mut self.random), survival(&mut self.random));
        {
            let mut disk = self.plug.disk();
            disk.revive(names, data);
            if self.setting.keep.is_some() {
                self.image = disk.tree();
            }
        }
        self.story.push(format!("power cut: of the names {names:?}, of the data {data:?}"));
        if stays {
            return Ok(());
        }
        let session = mount(&self.plug, self.at.path());
        self.session = Some(session.map_err(|error| format!("it cannot be mounted: {error}"))?);
        Ok(())
    }

    fn unmount(&mut self) -> Checked<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        match session.umount_and_join() {
            // One of its threads saw the end before the others.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionAborted => {
                Err(format!("it cannot be unmounted: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// What the program must say of a disk that it cannot use.
    fn word(&self) -> Option<&'static str> {
        match self.setting.profile.outlook {
            Outlook::Refuses(word) => Some(word),
            Outlook::Works | Outlook::Breaks(_) => None,
        }
    }

    /// A disk that lacks what durability needs is named as such before anything is acknowledged.
    fn refused(&mut self, word: &str) -> Checked<()> {
        let feed = Feed { run: 0, lines: 3, burst: 3, pause: Duration::ZERO };
        let arguments = ["put".into(), self.directory(), "--ack".into()];
        let ran = self.run(&arguments, Some(feed), End::Itself)?;
        self.tell("put", &ran);
        let acked = ran.acked()?;
        if acked > 0 || ran.exit.code() != Some(2) || !ran.complaint.contains(word) {
            return Err(format!("{acked} acknowledged, {}: {}", ran.exit, ran.complaint.trim()));
        }
        Ok(())
    }

    /// All that is left comes out of a disk that works.
    fn finish(&mut self) -> Checked<()> {
        if self.word().is_some() {
            return self.unmount();
        }
        self.plug.disk().restart();
        let arguments = ["take".into(), self.directory()];
        let ran = self.run(&arguments, None, End::Itself)?;
        self.taken(&ran, 0, None, "the last take")?;
        if ran.exit.code() != Some(0) && self.ledger.acked() > 0 {
            return Err(format!("take ended with {}: {}", ran.exit, ran.complaint.trim()));
        }
        self.look()?;
        self.unmount()
    }

    fn run(&mut self, arguments: &[String], feed: Option<Feed>, end: End) -> Checked<Ran> {
        let linger = Duration::from_millis(self.random.pick(&[0, 0, 10, 60]));
        let ran = program::run(self.setting.binary, arguments, feed, end, linger, &self.plug);
        let ran = ran.map_err(|error| format!("{} cannot run: {error}", arguments[0]))?;
        if ran.hung {
            return Err(format!("{arguments:?} hangs: {}", ran.complaint.trim()));
        }
        if ran.complaint.contains("panicked") {
            return Err(format!("{arguments:?}: {}", ran.complaint.trim()));
        }
        // We kill by signal 9 alone.
        if ran.exit.signal().is_some_and(|signal| signal != 9 || !ran.killed) {
            return Err(format!("{arguments:?} ended with {}: {}", ran.exit, ran.complaint.trim()));
        }
        Ok(ran)
    }

    fn tell(&mut self, what: &str, ran: &Ran) {
        let calls = self.plug.disk().calls();
        let complaint = ran.complaint.trim();
        let text = format!("{what}; {} after {calls} calls: {complaint}", ran.exit);
        if self.setting.verbose {
            println!("{text}");
        }
        self.story.push(text);
    }

    fn directory(&self) -> String {
        self.channel.to_string_lossy().into_owned()
    }

    /// Puts the disk as it came back last, and as it is, where they can be looked at.
    fn keep(&self) -> std::io::Result<String> {
        let Some(keep) = self.setting.keep else { return Ok("--keep DIR keeps the disk".into()) };
        let Setting { profile, seed, .. } = &self.setting;
        let to = keep.join(format!("{}-{seed}", profile.name));
        for (state, tree) in [("revived", &self.image), ("now", &self.plug.disk().tree())] {
            for (path, bytes) in tree {
                let path = to.join(state).join(path.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap_or(&to))?;
                fs::write(path, bytes)?;
            }
        }
        Ok(format!("the disk is kept in {}", to.display()))
    }
}
