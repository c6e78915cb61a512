//! What `[channels.NAME]` says.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use super::units::parse_duration;
use crate::channel::MemoryOptions;

/// The types a channel can have.
pub(super) const TYPES: [&str; 2] = ["file", "memory"];
/// Below this a file channel's segments would be too small to write to.
const FILE_BYTES_MIN: u64 = 1024 * 1024;
const MEMORY_BYTES_MIN: u64 = 4 * 1024;

/// A channel's type with its keys.
#[derive(Debug, Clone)]
pub enum ChannelSettings {
    /// `type = "file"`.
    File(FileSettings),
    /// `type = "memory"`.
    Memory(MemoryOptions),
}

/// The keys of a file channel. What is not set is left to the channel.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// The channel's directory.
    pub path: PathBuf,
    /// The most bytes it may take on the disk.
    pub bytes_max: Option<u64>,
    /// The most events it may hold.
    pub events_max: Option<u64>,
    /// How long a commit waits for space.
    pub put_timeout: Option<Duration>,
    /// When it syncs: `commit`, `interval:TIME` or `os`.
    pub sync: Option<String>,
    /// Whether it writes past the system's cache.
    pub direct: bool,
    /// The cursors to make; `main` if none is named.
    pub cursors: Vec<String>,
}

impl ChannelSettings {
    pub(super) fn read(kind: &str, section: &mut Section<'_>) -> ChannelSettings {
        match kind {
            "file" => ChannelSettings::File(read_file(section)),
            _ => ChannelSettings::Memory(read_memory(section)),
        }
    }

    /// The cursors that the channel makes; empty for `main` alone.
    pub fn cursors(&self) -> &[String] {
        match self {
            ChannelSettings::File(file) => &file.cursors,
            ChannelSettings::Memory(memory) => &memory.cursors,
        }
    }

    pub(super) fn set_cursors(&mut self, cursors: Vec<String>) {
        match self {
            ChannelSettings::File(file) => file.cursors = cursors,
            ChannelSettings::Memory(memory) => memory.cursors = cursors,
        }
    }
}

fn read_file(section: &mut Section<'_>) -> FileSettings {
    let path = section.required_path("path");
    if !path.as_os_str().is_empty() {
        section.claim("path", super::directory_claim(&path));
    }
    let sync = section.text("sync");
    if let Some(problem) = sync.as_deref().and_then(sync_problem) {
        section.problem("sync", problem);
    }
    FileSettings {
        path,
        bytes_max: read_bytes_max(section, FILE_BYTES_MIN),
        events_max: section.whole("events_max", 1..=u64::MAX),
        put_timeout: section.duration("put_timeout"),
        sync,
        direct: section.flag_or("direct", false),
        cursors: section.texts("cursors").unwrap_or_default(),
    }
}

fn read_memory(section: &mut Section<'_>) -> MemoryOptions {
    let default = MemoryOptions::default();
    MemoryOptions {
        bytes_max: read_bytes_max(section, MEMORY_BYTES_MIN).unwrap_or(default.bytes_max),
        events_max: section.whole("events_max", 1..=u64::MAX),
        put_timeout: section.duration("put_timeout").unwrap_or(default.put_timeout),
        cursors: section.texts("cursors").unwrap_or_default(),
    }
}

fn read_bytes_max(section: &mut Section<'_>, least: u64) -> Option<u64> {
    let bytes_max = section.size("bytes_max")?;
    if bytes_max < least {
        section.problem("bytes_max", format!("must be at least {}KiB", least / 1024));
    }
    Some(bytes_max)
}

fn sync_problem(sync: &str) -> Option<String> {
    match sync.split_once(':') {
        None if sync == "commit" || sync == "os" => None,
        Some(("interval", interval)) => parse_duration(interval).err(),
        _ => Some(format!(
            "{sync:?} is not a sync class; write \"commit\", \"interval:100ms\" or \"os\""
        )),
    }
}
