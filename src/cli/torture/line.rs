//! The lines of the acknowledgement log: what the child says, each with one write, into the pipe
//! that its parent reads. What is in a pipe survives whoever wrote it.
//!
//! Before an operation stands its intent, behind it its outcome. So if an outcome stands before an
//! intent, the one operation had ended when the other began; and an intent without an outcome, in
//! front of a kill, is in doubt.

use std::fmt::{self, Display, Formatter};
use std::str::{FromStr, SplitAsciiWhitespace};

use super::event;

/// The number of an operation: of which thread, in which round, and which one of these. Those of a
/// thread are in the order in which they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Op {
    pub thread: u32,
    pub round: u32,
    pub number: u32,
}

/// An event that came out of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    pub seq: u64,
    /// The put that its body names.
    pub put: Op,
    /// Its number in that put, as its body says.
    pub index: u32,
    /// The sum of all its bytes.
    pub sum: u32,
}

/// A put that is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PutIntent {
    pub op: Op,
    pub events: u32,
    /// The size that its events' bytes follow from.
    pub longest: u32,
    /// Whether it sets its thread's position to its own number.
    pub position: bool,
    /// Whether it waits for space for ever, so that nothing of its thread may overtake it.
    pub patient: bool,
    pub producer: Option<(String, u64)>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Opening,
    Opened,
    /// A cursor is read from end to end, while nothing else is done, and nothing acknowledged.
    Read(String),
    Saw(Vec<Sight>),
    Whole,
    /// What the channel says of a thread's position, a producer's last sequence, a cursor's state.
    Position(u32, Option<Op>),
    Sequence(String, Option<u64>),
    State(String, Option<Op>),
    Working,
    Put(PutIntent),
    /// Acknowledged, from that seq on, so many events.
    Stored(Op, u64, u64),
    /// Acknowledged as a repeat.
    Same(Op),
    /// Refused: for want of space, or because a sequence before it was.
    Full(Op),
    OutOfSequence(Op),
    /// Nobody waits for its outcome any more.
    LetGo(Op),
    Take(Op, String),
    Took(Op, Vec<Sight>),
    /// With or without a state for the cursor.
    Commit(Op, bool),
    Committed(Op, u64),
    Rollback(Op),
    RolledBack(Op),
    Make(String),
    Made(String),
    /// All that was to be done is done.
    Done,
    /// Something failed that should not.
    Error(String),
}

impl Display for Op {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.thread, self.round, self.number)
    }
}

impl FromStr for Op {
    type Err = ();

    fn from_str(text: &str) -> Result<Op, ()> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(|_| ()));
        let mut next = || parts.next().ok_or(())?;
        let op = Op { thread: next()?, round: next()?, number: next()? };
        if parts.next().is_some() { Err(()) } else { Ok(op) }
    }
}

impl Sight {
    /// What a taken event says of itself.
    pub(super) fn of(taken: &crate::channel::Taken) -> Sight {
        let (put, index) = event::name_of(&taken.event);
        Sight { seq: taken.seq, put, index, sum: event::sum_of(&taken.event) }
    }
}

impl Display for Sight {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}:{:x}", self.seq, self.put, self.index, self.sum)
    }
}

impl FromStr for Sight {
    type Err = ();

    fn from_str(text: &str) -> Result<Sight, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[seq, put, index, sum] = &parts[..] else { return Err(()) };
        Ok(Sight {
            seq: seq.parse().map_err(|_| ())?,
            put: put.parse()?,
            index: index.parse().map_err(|_| ())?,
            sum: u32::from_str_radix(sum, 16).map_err(|_| ())?,
        })
    }
}

/// What may be absent is a dash.
pub(super) struct Maybe<T>(pub Option<T>);

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(formatter),
            None => formatter.write_str("-"),
        }
    }
}

impl<T: FromStr> FromStr for Maybe<T> {
    type Err = ();

    fn from_str(text: &str) -> Result<Maybe<T>, ()> {
        if text == "-" { Ok(Maybe(None)) } else { Ok(Maybe(Some(text.parse().map_err(|_| ())?))) }
    }
}

impl Display for Line {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Line::Opening | Line::Opened | Line::Whole | Line::Working | Line::Done => {
                formatter.write_str(word)
            }
            Line::Read(text) | Line::Make(text) | Line::Made(text) | Line::Error(text) => {
                write!(formatter, "{word} {text}")
            }
            Line::Saw(sights) => {
                formatter.write_str(word)?;
                sights.iter().try_for_each(|sight| write!(formatter, " {sight}"))
            }
            Line::Took(op, sights) => {
                write!(formatter, "{word} {op}")?;
                sights.iter().try_for_each(|sight| write!(formatter, " {sight}"))
            }
            Line::Position(thread, value) => {
                write!(formatter, "{word} {thread} {}", Maybe(*value))
            }
            Line::Sequence(producer, value) => {
                write!(formatter, "{word} {producer} {}", Maybe(*value))
            }
            Line::State(cursor, value) => write!(formatter, "{word} {cursor} {}", Maybe(*value)),
            Line::Put(put) => {
                let (position, patient) = (u8::from(put.position), u8::from(put.patient));
                let PutIntent { op, events, longest, .. } = put;
                write!(formatter, "{word} {op} {events} {longest} {position} {patient}")?;
                match &put.producer {
                    Some((name, sequence)) => write!(formatter, " {name} {sequence}"),
                    None => Ok(()),
                }
            }
            Line::Stored(op, first, events) => write!(formatter, "{word} {op} {first} {events}"),
            Line::Take(op, cursor) => write!(formatter, "{word} {op} {cursor}"),
            Line::Commit(op, state) => write!(formatter, "{word} {op} {}", u8::from(*state)),
            Line::Committed(op, events) => write!(formatter, "{word} {op} {events}"),
            Line::Same(op)
            | Line::Full(op)
            | Line::OutOfSequence(op)
            | Line::LetGo(op)
            | Line::Rollback(op)
            | Line::RolledBack(op) => write!(formatter, "{word} {op}"),
        }
    }
}

impl Line {
    /// The word that the line begins with.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Line::Opening => "opening",
            Line::Opened => "opened",
            Line::Read(_) => "read",
            Line::Saw(_) => "saw",
            Line::Whole => "whole",
            Line::Position(..) => "position",
            Line::Sequence(..) => "sequence",
            Line::State(..) => "state",
            Line::Working => "working",
            Line::Put(_) => "put",
            Line::Stored(..) => "stored",
            Line::Same(_) => "same",
            Line::Full(_) => "full",
            Line::OutOfSequence(_) => "out-of-sequence",
            Line::LetGo(_) => "let-go",
            Line::Take(..) => "take",
            Line::Took(..) => "took",
            Line::Commit(..) => "commit",
            Line::Committed(..) => "committed",
            Line::Rollback(_) => "rollback",
            Line::RolledBack(_) => "rolled-back",
            Line::Make(_) => "make",
            Line::Made(_) => "made",
            Line::Done => "done",
            Line::Error(_) => "error",
        }
    }
}

/// The words of a line, one after the other.
struct Words<'a>(SplitAsciiWhitespace<'a>);

impl Words<'_> {
    fn next<T: FromStr>(&mut self) -> Result<T, ()> {
        self.0.next().ok_or(())?.parse().map_err(|_| ())
    }

    fn flag(&mut self) -> Result<bool, ()> {
        self.next::<u8>().map(|flag| flag != 0)
    }

    fn sights(&mut self) -> Result<Vec<Sight>, ()> {
        self.0.by_ref().map(str::parse).collect()
    }

    fn put(&mut self) -> Result<Line, ()> {
        let (op, events, longest) = (self.next()?, self.next()?, self.next()?);
        let (position, patient) = (self.flag()?, self.flag()?);
        let producer = match self.0.next() {
            Some(name) => Some((name.to_owned(), self.next()?)),
            None => None,
        };
        Ok(Line::Put(PutIntent { op, events, longest, position, patient, producer }))
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Line, ()> {
        let mut words = Words(text.split_ascii_whitespace());
        let word: String = words.next()?;
        let line = match word.as_str() {
            "opening" => Line::Opening,
            "opened" => Line::Opened,
            "read" => Line::Read(words.next()?),
            "saw" => Line::Saw(words.sights()?),
            "whole" => Line::Whole,
            "position" => Line::Position(words.next()?, words.next::<Maybe<_>>()?.0),
            "sequence" => Line::Sequence(words.next()?, words.next::<Maybe<_>>()?.0),
            "state" => Line::State(words.next()?, words.next::<Maybe<_>>()?.0),
            "working" => Line::Working,
            "put" => words.put()?,
            "stored" => Line::Stored(words.next()?, words.next()?, words.next()?),
            "same" => Line::Same(words.next()?),
            "full" => Line::Full(words.next()?),
            "out-of-sequence" => Line::OutOfSequence(words.next()?),
            "let-go" => Line::LetGo(words.next()?),
            "take" => Line::Take(words.next()?, words.next()?),
            "took" => Line::Took(words.next()?, words.sights()?),
            "commit" => Line::Commit(words.next()?, words.flag()?),
            "committed" => Line::Committed(words.next()?, words.next()?),
            "rollback" => Line::Rollback(words.next()?),
            "rolled-back" => Line::RolledBack(words.next()?),
            "make" => Line::Make(words.next()?),
            "made" => Line::Made(words.next()?),
            "done" => Line::Done,
            "error" => return Ok(Line::Error(text["error".len()..].trim().to_owned())),
            _ => return Err(()),
        };
        if words.0.next().is_some() { Err(()) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let op = Op { thread: 3, round: 17, number: 5 };
        let sight = Sight { seq: 9, put: op, index: 1, sum: 0xab };
        let put = PutIntent {
            op,
            events: 2,
            longest: 99,
            position: true,
            patient: false,
            producer: Some(("p3".to_owned(), 7)),
        };
        let plain = PutIntent { producer: None, position: false, patient: true, ..put.clone() };
        let lines = [
            Line::Opening,
            Line::Opened,
            Line::Read("main".to_owned()),
            Line::Saw(vec![]),
            Line::Saw(vec![sight, sight]),
            Line::Whole,
            Line::Position(3, Some(op)),
            Line::Position(3, None),
            Line::Sequence("p3".to_owned(), Some(7)),
            Line::State("main".to_owned(), None),
            Line::Working,
            Line::Put(put),
            Line::Put(plain),
            Line::Stored(op, 9, 2),
            Line::Same(op),
            Line::Full(op),
            Line::OutOfSequence(op),
            Line::LetGo(op),
            Line::Take(op, "main".to_owned()),
            Line::Took(op, vec![sight]),
            Line::Took(op, vec![]),
            Line::Commit(op, true),
            Line::Committed(op, 4),
            Line::Rollback(op),
            Line::RolledBack(op),
            Line::Make("third".to_owned()),
            Line::Made("third".to_owned()),
            Line::Done,
            Line::Error("some words: and more".to_owned()),
        ];
        for line in lines {
            let text = line.to_string();
            assert_eq!(text.parse(), Ok(line.clone()), "{text}");
            assert_eq!(text.split(' ').next(), Some(line.word()));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in ["", "open", "put 1.2.3", "put 1.2 1 1 1 1", "stored 1.2.3 x 1", "same 1.2.3.4"]
        {
            assert_eq!(text.parse::<Line>(), Err(()), "{text:?}");
        }
        assert_eq!("whole 1".parse::<Line>(), Err(()));
        assert_eq!("saw 1:2:3".parse::<Line>(), Err(()));
    }
}
