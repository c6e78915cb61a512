//! What a channel is opened with, and the sizes that follow from it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{BLOCK_ALIGN, STATE_OFFSET};

/// The byte limit of a new channel that names none.
pub const BYTES_MAX_DEFAULT: u64 = 16 << 30;
/// The smallest byte limit of a channel.
pub const BYTES_MAX_LEAST: u64 = 1 << 20;
/// The largest byte limit of a channel.
pub const BYTES_MAX_MOST: u64 = 4 << 40;

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncClass {
    /// After a sync that covers it: it survives a power cut. The default.
    #[default]
    Commit,
    /// After the write; a sync follows at least this often. A power cut may take what came since
    /// the last one, the end of the process takes nothing.
    Interval(Duration),
    /// After the write; the system writes it out when it likes. As above, without a bound.
    Os,
}

impl SyncClass {
    /// Its number in a block's header.
    pub(crate) fn code(self) -> u8 {
        match self {
            SyncClass::Commit => 0,
            SyncClass::Interval(_) => 1,
            SyncClass::Os => 2,
        }
    }

    /// Whether an acknowledgement waits for a sync.
    pub(crate) fn is_commit(self) -> bool {
        self == SyncClass::Commit
    }
}

impl fmt::Display for SyncClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncClass::Commit => formatter.write_str("commit"),
            SyncClass::Interval(every) => write!(formatter, "interval:{}ms", every.as_millis()),
            SyncClass::Os => formatter.write_str("os"),
        }
    }
}

impl FromStr for SyncClass {
    type Err = Error;

    /// ```
    /// use forebay_wal::SyncClass;
    /// use std::time::Duration;
    /// let class: SyncClass = "interval:100ms".parse()?;
    /// assert_eq!(class, SyncClass::Interval(Duration::from_millis(100)));
    /// # Ok::<(), forebay_wal::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<SyncClass> {
        let interval = |text: &str| {
            let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let count: u64 = digits.parse().ok()?;
            let every = match unit {
                "ms" => Duration::from_millis(count),
                "s" => Duration::from_secs(count),
                _ => return None,
            };
            (!every.is_zero()).then_some(SyncClass::Interval(every))
        };
        let class = match text {
            "commit" => Some(SyncClass::Commit),
            "os" => Some(SyncClass::Os),
            other => other.strip_prefix("interval:").and_then(interval),
        };
        class.ok_or_else(|| {
            let text = format!(
                "sync class {text:?} is not known; write \"commit\", \"interval:100ms\" or \"os\""
            );
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

/// Who does the work beside the commits: checkpoints, spare segments, watermarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Background {
    /// Two threads of the channel. The default.
    #[default]
    Threads,
    /// Nobody: the program calls [`crate::Channel::tend`] and commits only in the blocking way.
    /// For simulations, where every step has its place.
    Manual,
}

/// What `open` does when acknowledged bytes turn out to be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorruption {
    /// Writes down what is lost and serves the rest. The default.
    #[default]
    Serve,
    /// Refuses to open, with [`ErrorKind::Corrupt`], and changes nothing.
    Refuse,
}

/// How a channel is opened. Start from [`Options::new`] and change what matters.
///
/// ```
/// use forebay_wal::{Options, SyncClass};
/// let options = Options::new().bytes_max(64 << 20).sync(SyncClass::Os).cursor("archive");
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) bytes_max: Option<u64>,
    pub(crate) events_max: Option<u64>,
    pub(crate) put_timeout: Duration,
    pub(crate) sync: SyncClass,
    pub(crate) cursors: Vec<String>,
    pub(crate) tail_bytes: usize,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) watermark_after: Duration,
    pub(crate) quarantine_bytes_max: u64,
    pub(crate) background: Background,
    pub(crate) on_corruption: OnCorruption,
    pub(crate) direct: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options {
            bytes_max: None,
            events_max: None,
            put_timeout: Duration::from_secs(3),
            sync: SyncClass::Commit,
            cursors: Vec::new(),
            tail_bytes: 8 << 20,
            checkpoint_bytes: 8 << 20,
            watermark_after: Duration::from_millis(100),
            quarantine_bytes_max: 256 << 20,
            background: Background::Threads,
            on_corruption: OnCorruption::Serve,
            direct: false,
        }
    }

    /// The most bytes that the channel's directory may allocate, 1 MiB to 4 TiB; quarantine has a
    /// limit of its own. Kept in the channel: leave it out to keep what was set before. A new
    /// channel gets [`BYTES_MAX_DEFAULT`].
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Options {
        self.bytes_max = Some(bytes);
        self
    }

    /// The most events that may wait on any cursor; 0 for no such limit. Kept in the channel, like
    /// the byte limit.
    #[must_use]
    pub fn events_max(mut self, events: u64) -> Options {
        self.events_max = Some(events);
        self
    }

    /// Whether the log is written past the system's cache (`O_DIRECT`), where the file system allows
    /// that. Commits of more than a few events may be a tenth faster, and a backlog takes no memory
    /// from other programs; takers that have fallen behind read from the disk. Off unless set.
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Options {
        self.direct = direct;
        self
    }

    /// How long a commit waits for space before it is refused as `Full`. Three seconds unless set.
    #[must_use]
    pub fn put_timeout(mut self, timeout: Duration) -> Options {
        self.put_timeout = timeout;
        self
    }

    /// When a commit is acknowledged.
    #[must_use]
    pub fn sync(mut self, sync: SyncClass) -> Options {
        self.sync = sync;
        self
    }

    /// A cursor that is made when the channel is made. Without any, `main` is.
    #[must_use]
    pub fn cursor(mut self, name: impl Into<String>) -> Options {
        self.cursors.push(name.into());
        self
    }

    /// How many bytes of recent events stay in memory for takers. 8 MiB unless set.
    #[must_use]
    pub fn tail_bytes(mut self, bytes: usize) -> Options {
        self.tail_bytes = bytes;
        self
    }

    /// After how many bytes of log a checkpoint is written. 8 MiB unless set.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Options {
        self.checkpoint_bytes = bytes;
        self
    }

    /// How long the log is idle before a watermark closes the question whether its last block was
    /// ever synced. 100 ms unless set.
    #[must_use]
    pub fn watermark_after(mut self, idle: Duration) -> Options {
        self.watermark_after = idle;
        self
    }

    /// How many bytes of damaged ranges are kept in `quarantine/`. 256 MiB unless set.
    #[must_use]
    pub fn quarantine_bytes_max(mut self, bytes: u64) -> Options {
        self.quarantine_bytes_max = bytes;
        self
    }

    /// Who does the work beside the commits.
    #[must_use]
    pub fn background(mut self, background: Background) -> Options {
        self.background = background;
        self
    }

    /// What to do about damage found while opening.
    #[must_use]
    pub fn on_corruption(mut self, policy: OnCorruption) -> Options {
        self.on_corruption = policy;
        self
    }

    /// Finds what is wrong with the options before anything is touched.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if let Some(bytes) = self.bytes_max
            && !(BYTES_MAX_LEAST..=BYTES_MAX_MOST).contains(&bytes)
        {
            return invalid(format!(
                "bytes_max is {bytes}; it must be at least {BYTES_MAX_LEAST} (1 MiB) and at most \
                 {BYTES_MAX_MOST} (4 TiB)"
            ));
        }
        for (index, name) in self.cursors.iter().enumerate() {
            check_cursor_name(name)?;
            if self.cursors[..index].contains(name) {
                return invalid(format!("cursor {name:?} is named twice"));
            }
        }
        Ok(())
    }
}

/// The longest name of a cursor, in bytes.
pub const CURSOR_NAME_BYTES_MAX: usize = 64;

/// A cursor's name is short and printable.
pub(crate) fn check_cursor_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= CURSOR_NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    if fine {
        return Ok(());
    }
    let text =
        format!("cursor name {name:?} must have 1 to {CURSOR_NAME_BYTES_MAX} bytes and no blanks");
    Err(Error::new(ErrorKind::Invalid, text))
}

/// The sizes of a channel, all of which follow from its byte limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// The byte limit.
    pub(crate) bytes_max: u64,
    /// The length of a new segment: an eighth of the limit, a power of two, 128 KiB to 64 MiB.
    pub(crate) segment_bytes: u64,
    /// How many segments of that length the limit has room for.
    pub(crate) segments_max: u64,
    /// The most bytes of one transaction: events with their lengths, positions, producer.
    pub(crate) transaction_bytes_max: usize,
    /// How many cursors there may be.
    pub(crate) cursors_max: usize,
    /// Into how many pieces the unacknowledged seqs of one cursor may fall.
    pub(crate) fragments_max: usize,
    /// Up to how many pieces, of all cursors together, losses may split what they have acknowledged.
    pub(crate) gaps_max: usize,
    /// How many pieces of absent seqs are remembered.
    pub(crate) absent_max: usize,
    /// The most bytes of all producers' names, of all positions, of all cursors' states: each.
    pub(crate) table_bytes_max: usize,
    /// How many producers there may be.
    pub(crate) producers_max: usize,
    /// The length of one checkpoint file.
    pub(crate) checkpoint_bytes: u64,
}

/// Segments that puts may never use: acks, states and losses need room when nothing else has.
pub(crate) const SPARES_RESERVED: usize = 2;

impl Geometry {
    pub(crate) fn new(bytes_max: u64) -> Geometry {
        let bytes_max = bytes_max.clamp(BYTES_MAX_LEAST, BYTES_MAX_MOST);
        let eighth = bytes_max / 8;
        let segment_bytes = (1u64 << eighth.ilog2()).clamp(128 << 10, 64 << 20);
        // A State is at most an eighth of a segment, see the parts below.
        let checkpoint_bytes = (segment_bytes / 8 + 8192).min(8 << 20);
        let beside_bytes = 2 * checkpoint_bytes + (16 << 10);
        let cursors_max = (segment_bytes >> 14).min(64) as usize;
        Geometry {
            bytes_max,
            segment_bytes,
            segments_max: (bytes_max - beside_bytes) / segment_bytes,
            transaction_bytes_max: (segment_bytes / 4).min(16 << 20) as usize,
            cursors_max,
            // A 32nd of a segment for the ranges of all cursors, 16 bytes each.
            fragments_max: ((segment_bytes >> 9) as usize / cursors_max).min(1024),
            // A 64th more, for all cursors together.
            gaps_max: (segment_bytes >> 10) as usize,
            absent_max: (segment_bytes >> 11).min(512) as usize,
            // Three tables, a 64th each.
            table_bytes_max: (segment_bytes >> 6) as usize,
            producers_max: (segment_bytes >> 12).min(4096) as usize,
            checkpoint_bytes,
        }
    }
}

const _: () = assert!(STATE_OFFSET == BLOCK_ALIGN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_channel_has_seven_segments_and_stays_below_its_limit() {
        let geometry = Geometry::new(1 << 20);
        assert_eq!(geometry.segment_bytes, 128 << 10);
        assert_eq!(geometry.segments_max, 7);
        assert_eq!(geometry.transaction_bytes_max, 32 << 10);
        assert_eq!(geometry.fragments_max, 32);
    }

    #[test]
    fn every_limit_leaves_room_for_puts_and_never_passes_itself() {
        for shift in 20..=42 {
            for bytes_max in [1u64 << shift, (1 << shift) + (1 << (shift - 1)) + 12_345] {
                let geometry = Geometry::new(bytes_max);
                let used =
                    geometry.segments_max * geometry.segment_bytes + 2 * geometry.checkpoint_bytes;
                assert!(used <= geometry.bytes_max, "{bytes_max}");
                assert!(geometry.segments_max as usize >= SPARES_RESERVED + 4, "{bytes_max}");
                assert!(geometry.segment_bytes.is_power_of_two());
                assert!(geometry.fragments_max >= 32);
            }
        }
    }

    #[test]
    fn sync_classes_are_read_as_they_are_written() {
        for text in ["commit", "os", "interval:100ms", "interval:1500ms"] {
            let class: SyncClass = text.parse().expect("a class");
            assert_eq!(class.to_string(), text);
        }
        for text in ["", "always", "interval:", "interval:0ms", "interval:5", "interval:5h"] {
            let error = text.parse::<SyncClass>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
