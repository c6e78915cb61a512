//! Why a component or a command failed, in words for the operator.

use std::error::Error;
use std::fmt;

use crate::channel;

/// A failure: what was tried, and what came in the way.
#[derive(Debug)]
pub struct Failure {
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure in words of its own.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), source: None }
    }

    /// The same failure, with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.source = Some(source.into());
        self
    }

    /// What a channel's error says to do, if one is the cause.
    pub fn channel_kind(&self) -> Option<channel::ErrorKind> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<channel::Error>() {
                return Some(error.kind());
            }
            cause = error.source();
        }
        None
    }
}

/// The text, and that of every cause behind it.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)?;
        let mut told = self.text.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // An error in another's words repeats them; one line says each thing once.
            if text != told {
                write!(formatter, ": {text}")?;
            }
            told = text;
            // A failure has told its causes itself.
            cause = if error.is::<Failure>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_once_and_a_channels_kind_is_found() {
        let io = std::io::Error::other("no space");
        let channel = channel::Error::new(channel::ErrorKind::Io, "the sync failed").because(io);
        let inner = Failure::new("the commit failed").because(channel);
        let outer = Failure::new("sink `out`").because(inner);
        assert_eq!(outer.to_string(), "sink `out`: the commit failed: the sync failed: no space");
        assert_eq!(outer.channel_kind(), Some(channel::ErrorKind::Io));
        assert_eq!(Failure::new("x").channel_kind(), None);
    }
}
