//! `forebay check`: reads every block of a file channel, and says what is not as it was written.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::progress::Progress;
use super::words::{Lines, counted, events, hyphenated, size};
use crate::channel::{Check as Findings, Damage, DamageKind, FileChannel};
use crate::failure::Failure;

/// Read every block of a channel and say what is damaged; nothing is changed.
///
/// The channel's owner may be at work meanwhile: what it writes after the check has begun is not
/// judged. Exits with 0 if all is as it was written, with 1 if something is damaged, whether or not
/// the channel's ledger knows, and with 2 if there is no channel or it cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay check data\n  \
    forebay check data --json | jq '.damages[] | select(.known | not)'")]
pub(super) struct Check {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let mut progress = Progress::of("bytes read");
        let check = FileChannel::check(&self.directory, |done, _| progress.at(done));
        drop(progress);
        let check = check.map_err(|error| {
            let text = format!("cannot check {}", self.directory.display());
            Failure::new(text).because(error)
        })?;
        let text = if self.json {
            let json = serde_json::to_string_pretty(&Report::new(&check));
            json.map_err(|error| Failure::new("the findings cannot be written").because(error))?
        } else {
            describe(&self.directory, &check)
        };
        match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            // The reader has what it wanted.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(Failure::new("standard output cannot be written").because(error));
            }
            _ => {}
        }
        Ok(if check.damages_total > 0 { Outcome::Finding } else { Outcome::Fine })
    }
}

/// The JSON object. Its keys are stable: more may come, none goes or changes its meaning.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// `sound` or `damaged`.
    verdict: &'static str,
    uuid: String,
    segments: u64,
    spares: u64,
    blocks: u64,
    void_blocks: u64,
    torn_blocks: u64,
    records: u64,
    events: u64,
    bytes: u64,
    next_seq: u64,
    next_lsn: u64,
    durable_lsn: u64,
    /// The first thousand of them.
    damages: Vec<DamageReport<'a>>,
    damages_total: u64,
    losses: u64,
    lost_events: u64,
    quarantine_bytes: u64,
    remarks: Vec<RemarkReport<'a>>,
}

#[derive(Debug, Serialize)]
struct DamageReport<'a> {
    kind: &'static str,
    segment: u64,
    file: &'a str,
    offset_bytes: u64,
    len_bytes: u64,
    /// The first seq that stood there, and the one behind the last; equal if none did.
    first_seq: u64,
    end_seq: u64,
    /// Events of these that some cursor has still to see.
    waiting: u64,
    known: bool,
}

#[derive(Debug, Serialize)]
struct RemarkReport<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Report<'a> {
    fn new(check: &'a Findings) -> Report<'a> {
        let remark = |(file, text): &'a (String, &'static str)| RemarkReport { file, text };
        Report {
            verdict: if check.damages_total > 0 { "damaged" } else { "sound" },
            uuid: hyphenated(&check.uuid),
            segments: check.segments,
            spares: check.spares,
            blocks: check.blocks,
            void_blocks: check.void_blocks,
            torn_blocks: check.torn_blocks,
            records: check.records,
            events: check.events,
            bytes: check.bytes,
            next_seq: check.next_seq,
            next_lsn: check.next_lsn,
            durable_lsn: check.durable_lsn,
            damages: check.damages.iter().map(DamageReport::new).collect(),
            damages_total: check.damages_total,
            losses: check.losses,
            lost_events: check.lost_events,
            quarantine_bytes: check.quarantine_bytes,
            remarks: check.remarks.iter().map(remark).collect(),
        }
    }
}

impl<'a> DamageReport<'a> {
    fn new(damage: &'a Damage) -> DamageReport<'a> {
        DamageReport {
            kind: key(damage.kind),
            segment: damage.segment,
            file: &damage.file,
            offset_bytes: damage.offset_bytes,
            len_bytes: damage.len_bytes,
            first_seq: damage.seqs.start,
            end_seq: damage.seqs.end,
            waiting: damage.waiting,
            known: damage.known,
        }
    }
}

fn key(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Bytes => "bytes",
        DamageKind::Unreadable => "unreadable",
        DamageKind::Order => "order",
        DamageKind::Header => "header",
        DamageKind::Cut => "cut",
        DamageKind::Missing => "missing",
        DamageKind::Unsynced => "unsynced",
        _ => "other",
    }
}

fn words(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Bytes => "bytes changed since they were written",
        DamageKind::Unreadable => "a block holds a record that cannot be read",
        DamageKind::Order => "a block does not go on where the one before it ended",
        DamageKind::Header => "the segment's header is damaged",
        DamageKind::Cut => "the file is shorter than it was made",
        DamageKind::Missing => "the file is gone",
        DamageKind::Unsynced => "acknowledged before a sync, as was asked for, and gone",
        _ => "it is not as it was written",
    }
}

/// The findings for people.
fn describe(directory: &Path, check: &Findings) -> String {
    let mut lines = Lines::default();
    lines.add("channel", directory.display());
    lines.add("uuid", hyphenated(&check.uuid));
    let segments = counted(check.segments, "segment");
    let spares = counted(check.spares, "spare");
    lines.add("read", format!("{} in {segments}, beside {spares}", size(check.bytes)));
    let (blocks, records) = (counted(check.blocks, "block"), counted(check.records, "record"));
    lines.add("holds", format!("{blocks}, {records}, {}", events(check.events)));
    if check.void_blocks > 0 {
        let blocks = counted(check.void_blocks, "block");
        lines.add("", format!("{blocks} of an earlier generation, which count for nothing"));
    }
    if check.torn_blocks > 0 {
        let blocks = counted(check.torn_blocks, "block");
        lines.add("", format!("{blocks} at the end, torn and never acknowledged"));
    }
    describe_damages(&mut lines, check);
    if check.losses > 0 {
        let losses = counted(check.losses, "line");
        lines.add("ledger", format!("{losses}, {} lost", events(check.lost_events)));
    }
    if check.quarantine_bytes > 0 {
        lines.add("quarantine", size(check.quarantine_bytes));
    }
    for (file, text) in &check.remarks {
        lines.add("remark", format!("{file} {text}"));
    }
    lines.add("verdict", if check.damages_total > 0 { "damaged" } else { "sound" });
    lines.into_text()
}

fn describe_damages(lines: &mut Lines, check: &Findings) {
    if check.damages_total == 0 {
        lines.add("damage", "none");
        return;
    }
    lines.add("damage", counted(check.damages_total, "place"));
    for damage in &check.damages {
        lines.add("", describe_damage(damage));
    }
    let untold = check.damages_total - check.damages.len() as u64;
    if untold > 0 {
        lines.add("", format!("and {untold} more"));
    }
}

fn describe_damage(damage: &Damage) -> String {
    let mut text = damage.file.clone();
    if damage.len_bytes > 0 {
        text += &format!(" at {}, {}", damage.offset_bytes, counted(damage.len_bytes, "byte"));
    }
    text += &format!(": {}", words(damage.kind));
    text += &match damage.seqs.len() {
        0 => "; no event stood there".to_owned(),
        1 => format!("; seq {}", damage.seqs.start),
        _ => format!("; seqs {} to {}", damage.seqs.start, damage.seqs.end - 1),
    };
    let waiting = events(damage.waiting);
    text += &match (damage.known, damage.waiting) {
        (true, _) => "; the ledger tells of it".to_owned(),
        (false, 0) => "; new, and no cursor waits for it".to_owned(),
        (false, _) => format!("; new: {waiting} will not be delivered"),
    };
    text
}
