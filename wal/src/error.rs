//! One error type: its kind says what to do, its text where and why.

use std::fmt;
use std::io;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The channel has no room, and none came in time. Take and commit, then put again.
    Full,
    /// The event alone passes the limit of a transaction. Cut it, or raise the channel's limit.
    EventTooLarge,
    /// The event does not fit into this transaction any more. Commit, put it into the next one.
    TransactionTooLarge,
    /// The channel is closed. Open it again.
    Closed,
    /// It is not known whether the commit is durable; after the next open it is there whole or not
    /// at all. Open again and repeat it under the same producer and sequence.
    InDoubt,
    /// An earlier sequence of this producer was refused. Commit that one first.
    OutOfSequence,
    /// The call breaks a rule that its documentation names. Mend the call.
    Invalid,
    /// A bound of the channel's state is reached: cursors, producers, positions. Remove some.
    LimitReached,
    /// There is no cursor of that name, or it was removed. Make it.
    NoSuchCursor,
    /// Another process, or another channel of this one, owns the directory. Close that one.
    InUse,
    /// A newer version of the program wrote this directory. Use that version.
    NewerVersion,
    /// There is no channel in the directory. Open it for writing once to make one.
    NotAChannel,
    /// Acknowledged bytes are damaged, and the options ask to refuse that. Look with `check`.
    Corrupt,
    /// The system failed at reading or writing. The text names the file and the call.
    Io,
    /// An earlier failure of the disk ended writing. Close the channel and open it again.
    Failed,
}

/// An error of the log.
///
/// ```
/// use forebay_wal::{Channel, ErrorKind, Options};
/// let dir = tempfile::tempdir()?;
/// let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
/// let second = Channel::open(dir.path(), Options::new());
/// assert_eq!(second.unwrap_err().kind(), ErrorKind::InUse);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    source: Option<io::Error>,
}

/// The log's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into(), source: None }
    }

    /// A failure of the system, with the words for what was tried.
    pub(crate) fn io(what: impl fmt::Display, source: io::Error) -> Error {
        Error { kind: ErrorKind::Io, text: format!("{what}: {source}"), source: Some(source) }
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the channel is closed; open it again")
    }

    pub(crate) fn failed() -> Error {
        Error::new(
            ErrorKind::Failed,
            "an earlier failure of the disk ended writing; close the channel and open it again",
        )
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error once more, for another one that waited for the same thing.
    pub(crate) fn again(&self) -> Error {
        Error { kind: self.kind, text: self.text.clone(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
