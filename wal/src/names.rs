//! The names of a channel's files: this file alone makes and parses them.

use std::path::{Path, PathBuf};

use crate::format::NUMBER_MAX;

/// The lock file.
pub(crate) const LOCK: &str = "LOCK";
/// The page with live figures.
pub(crate) const STATUS: &str = "status";
/// The two checkpoints, overwritten in turn.
pub(crate) const CHECKPOINTS: [&str; 2] = ["checkpoint.a", "checkpoint.b"];
/// The directory of damaged ranges that were set aside.
pub(crate) const QUARANTINE: &str = "quarantine";

const SEGMENT_SUFFIX: &str = ".wal";
const TEMPORARY_SUFFIX: &str = ".new";
const BEGUN_SUFFIX: &str = ".begun";

/// A name in a channel's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// The label of a segment; the header inside decides.
    Segment(u64),
    /// A segment that was being made when the process ended; nothing was ever in it.
    Temporary,
    /// The lock, the checkpoints, the status page or the quarantine.
    Own,
    /// Not ours: left alone.
    Foreign,
}

/// The name of a segment.
pub(crate) fn segment(id: u64) -> String {
    format!("{id:020}{SEGMENT_SUFFIX}")
}

/// The name of a segment that is being made.
pub(crate) fn temporary(id: u64) -> String {
    format!("{id:020}{TEMPORARY_SUFFIX}")
}

/// The name in quarantine of a damaged range.
pub(crate) fn quarantined(segment: u64, offset_bytes: u64) -> String {
    format!("{segment:020}-{offset_bytes:010}.damaged")
}

/// The name in quarantine of a copy that is being made.
pub(crate) fn begun(quarantined: &str, salt: u64) -> String {
    format!("{quarantined}-{salt:016x}{BEGUN_SUFFIX}")
}

/// Whether that is the name of a copy that was begun for that range.
pub(crate) fn is_begun(name: &str, quarantined: &str) -> bool {
    let rest = name.strip_suffix(BEGUN_SUFFIX).and_then(|name| name.strip_prefix(quarantined));
    rest.and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|salt| salt.len() == 16 && salt.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The name in quarantine of a segment file that belongs to no log we know.
pub(crate) fn orphan(name: &str, salt: u64) -> String {
    format!("{name}-{salt:016x}.orphan")
}

/// What a name stands for.
pub(crate) fn parse(name: &str) -> Name {
    let digits = |suffix: &str| {
        let stem = name.strip_suffix(suffix)?;
        if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        stem.parse::<u64>().ok().filter(|&id| id < NUMBER_MAX)
    };
    if let Some(id) = digits(SEGMENT_SUFFIX) {
        return Name::Segment(id);
    }
    if digits(TEMPORARY_SUFFIX).is_some() {
        return Name::Temporary;
    }
    if name == LOCK || name == STATUS || name == QUARANTINE || CHECKPOINTS.contains(&name) {
        return Name::Own;
    }
    Name::Foreign
}

/// Where a name stands in a channel's directory.
pub(crate) fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_parsed() {
        for id in [0, 1, 42, NUMBER_MAX - 1] {
            assert_eq!(parse(&segment(id)), Name::Segment(id));
            assert_eq!(parse(&temporary(id)), Name::Temporary);
        }
    }

    #[test]
    fn foreign_names_are_foreign() {
        for name in ["1.wal", "0000000000000000000x.wal", "notes.txt", "", ".wal", "LOCK2"] {
            assert_eq!(parse(name), Name::Foreign, "{name}");
        }
        // Twenty digits, but more than 64 bits.
        assert_eq!(parse("99999999999999999999.wal"), Name::Foreign);
        assert_eq!(parse(LOCK), Name::Own);
        assert_eq!(parse(CHECKPOINTS[1]), Name::Own);
    }
}
