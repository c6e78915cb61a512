//! What a source puts and a sink takes: headers and a body.
//!
//! An event is stored as bytes that a channel never looks into. This is their layout, all
//! numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | the format, 1 |
//! | 2 | how many headers follow |
//! | 4, *k* | a header's key: its length, and the key in UTF-8 |
//! | 4, *v* | the same header's value: its length, and the value in UTF-8 |
//! | ... | the other headers, in the order in which they were first inserted |
//! | the rest | the body |
//!
//! The bytes are valid if and only if they start with format 1, every length lies inside them,
//! every key and value is UTF-8, and no key occurs twice. So each event has one encoding, and each
//! valid encoding is one event. Decoding reads what is there and nothing else: it never panics,
//! and what it allocates grows with the bytes it is given, never with a length they claim.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

/// The format byte that every event of this version starts with.
const FORMAT: u8 = 1;
const COUNT_SIZE: usize = 2;
const LENGTH_SIZE: usize = 4;
const HEAD_SIZE: usize = 1 + COUNT_SIZE;
const _: () = assert!(HEAD_SIZE == 3);
/// The most headers that the count can say.
const HEADERS_MAX: usize = u16::MAX as usize;
/// Up to here repeated keys are looked for by comparing; beyond it a set is cheaper.
const KEYS_COMPARED_MAX: usize = 16;

/// Headers and a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What is known about the body, as text.
    pub headers: Headers,
    /// The body, which may be any bytes, also none.
    pub body: Bytes,
}

impl Event {
    /// An event without headers.
    pub fn new(body: impl Into<Bytes>) -> Event {
        Event { headers: Headers::default(), body: body.into() }
    }

    /// How many bytes [`Event::encode_into`] appends.
    pub fn encoded_len(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| LENGTH_SIZE + key.len() + LENGTH_SIZE + value.len());
        HEAD_SIZE + headers.sum::<usize>() + self.body.len()
    }

    /// Appends the event's encoding.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.reserve(self.encoded_len());
        let count = u16::try_from(self.headers.len()).expect("insert refuses more headers");
        buffer.push(FORMAT);
        buffer.extend_from_slice(&count.to_le_bytes());
        for (key, value) in self.headers.iter() {
            encode_text(key, buffer);
            encode_text(value, buffer);
        }
        buffer.extend_from_slice(&self.body);
        debug_assert_eq!(buffer.len() - start, self.encoded_len());
    }

    /// Reads an event back. The body is a slice of `encoded`, not a copy.
    pub fn decode(encoded: Bytes) -> Result<Event, EventError> {
        let mut rest: &[u8] = &encoded;
        let format = decode_array::<1>(&mut rest)?[0];
        if format != FORMAT {
            return Err(EventError::Format(format));
        }
        let count = usize::from(u16::from_le_bytes(decode_array(&mut rest)?));
        // Two lengths a header is the least that can follow; a larger count is a lie.
        if count > rest.len() / (2 * LENGTH_SIZE) {
            return Err(EventError::Cut);
        }
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(count);
        let mut keys: HashSet<&str> = HashSet::new();
        for _ in 0..count {
            let key = decode_text(&mut rest)?;
            let value = decode_text(&mut rest)?;
            let repeated = if count <= KEYS_COMPARED_MAX {
                pairs.iter().any(|(earlier, _)| **earlier == *key)
            } else {
                !keys.insert(key)
            };
            if repeated {
                return Err(EventError::RepeatedKey(key.to_owned()));
            }
            pairs.push((key.into(), value.into()));
        }
        let body = encoded.slice(encoded.len() - rest.len()..);
        Ok(Event { headers: Headers { pairs }, body })
    }
}

fn encode_text(text: &str, buffer: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("insert refuses longer texts");
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

fn decode_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, EventError> {
    let length = u32::from_le_bytes(decode_array(rest)?);
    let length = usize::try_from(length).map_err(|_| EventError::Cut)?;
    let (text, after) = rest.split_at_checked(length).ok_or(EventError::Cut)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| EventError::NotText)
}

fn decode_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], EventError> {
    let (array, after) = rest.split_first_chunk::<N>().ok_or(EventError::Cut)?;
    *rest = after;
    Ok(*array)
}

/// Text by key, in the order in which the keys were first inserted. An event has few headers, so
/// they stand in a list and are found by looking through it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    pairs: Vec<(Box<str>, Box<str>)>,
}

impl Headers {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// Sets the value under a key; a key that is there keeps its place.
    pub fn insert(
        &mut self,
        key: impl Into<Box<str>>,
        value: impl Into<Box<str>>,
    ) -> Result<(), EventError> {
        let (key, value) = (key.into(), value.into());
        if u32::try_from(key.len()).is_err() || u32::try_from(value.len()).is_err() {
            return Err(EventError::HeaderTooLong);
        }
        if let Some(pair) = self.pairs.iter_mut().find(|(found, _)| *found == key) {
            pair.1 = value;
        } else if self.pairs.len() == HEADERS_MAX {
            return Err(EventError::TooManyHeaders);
        } else {
            self.pairs.push((key, value));
        }
        Ok(())
    }

    /// Removes a key, and says what stood under it.
    pub fn remove(&mut self, key: &str) -> Option<Box<str>> {
        let at = self.pairs.iter().position(|(found, _)| **found == *key)?;
        Some(self.pairs.remove(at).1)
    }

    /// All keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Why bytes are not an event, or why a header cannot be part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The first byte names a format that this version does not know.
    Format(u8),
    /// The bytes end before the event does.
    Cut,
    /// A header's key or value is not UTF-8.
    NotText,
    /// A header's key occurs twice.
    RepeatedKey(String),
    /// An event has at most 65,535 headers.
    TooManyHeaders,
    /// A header's key or value is 4 GiB or longer.
    HeaderTooLong,
}

impl fmt::Display for EventError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventError::Format(format) => {
                write!(formatter, "the event has format {format}; this version reads {FORMAT}")
            }
            EventError::Cut => formatter.write_str("the bytes end before the event does"),
            EventError::NotText => formatter.write_str("a header is not UTF-8"),
            EventError::RepeatedKey(key) => write!(formatter, "header {key:?} occurs twice"),
            EventError::TooManyHeaders => {
                write!(formatter, "an event has at most {HEADERS_MAX} headers")
            }
            EventError::HeaderTooLong => formatter.write_str("a header is 4 GiB or longer"),
        }
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 1, two headers, a body. These bytes stand in channels on disks: they never change.
    const GOLDEN: &[u8] =
        b"\x01\x02\x00\x04\0\0\0host\x02\0\0\0a1\x01\0\0\0k\0\0\0\0line \xff\x00one";

    fn golden_event() -> Event {
        let mut event = Event::new(&b"line \xff\x00one"[..]);
        event.headers.insert("host", "a1").expect("it fits");
        event.headers.insert("k", "").expect("it fits");
        event
    }

    fn encoded(event: &Event) -> Bytes {
        let mut buffer = Vec::new();
        event.encode_into(&mut buffer);
        assert_eq!(buffer.len(), event.encoded_len());
        Bytes::from(buffer)
    }

    #[test]
    fn the_golden_bytes_are_one_event_both_ways() {
        assert_eq!(encoded(&golden_event()), GOLDEN);
        assert_eq!(Event::decode(Bytes::from_static(GOLDEN)), Ok(golden_event()));
    }

    #[test]
    fn an_empty_event_is_three_bytes() {
        assert_eq!(encoded(&Event::default()), &b"\x01\0\0"[..]);
        assert_eq!(Event::decode(Bytes::from_static(b"\x01\0\0")), Ok(Event::default()));
    }

    #[test]
    fn the_body_is_a_slice_of_what_was_decoded() {
        let bytes = Bytes::from(GOLDEN.to_vec());
        let event = Event::decode(bytes.clone()).expect("it is valid");
        assert_eq!(event.body.as_ptr_range().end, bytes.as_ptr_range().end);
    }

    #[test]
    fn every_cut_inside_the_headers_is_refused() {
        let body_starts = GOLDEN.len() - golden_event().body.len();
        for length in 0..body_starts {
            let cut = Event::decode(Bytes::from_static(&GOLDEN[..length]));
            assert_eq!(cut, Err(EventError::Cut), "{length} bytes");
        }
    }

    #[test]
    fn bytes_that_are_no_event_say_why() {
        let table: [(&'static [u8], EventError); 6] = [
            (b"\x02\0\0", EventError::Format(2)),
            (b"\x01\xff\xff", EventError::Cut),
            (b"\x01\x01\0\xff\xff\xff\xff\0\0\0\0", EventError::Cut),
            (b"\x01\x01\0\x01\0\0\0\xff\0\0\0\0", EventError::NotText),
            (b"\x01\x01\0\0\0\0\0\x01\0\0\0\xc3", EventError::NotText),
            (
                b"\x01\x02\0\x01\0\0\0a\0\0\0\0\x01\0\0\0a\0\0\0\0",
                EventError::RepeatedKey("a".to_owned()),
            ),
        ];
        for (bytes, error) in table {
            assert_eq!(Event::decode(Bytes::from_static(bytes)), Err(error));
        }
        assert!(EventError::Format(7).to_string().contains("format 7"));
    }

    #[test]
    fn any_flipped_byte_is_an_event_or_an_error_and_never_a_panic() {
        for at in 0..GOLDEN.len() {
            for flip in 1..=255 {
                let mut bytes = GOLDEN.to_vec();
                bytes[at] ^= flip;
                let bytes = Bytes::from(bytes);
                if let Ok(event) = Event::decode(bytes.clone()) {
                    assert_eq!(encoded(&event), bytes);
                }
            }
        }
    }

    #[test]
    fn many_headers_with_one_key_twice_are_refused() {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&100u16.to_le_bytes());
        for number in 0..100 {
            encode_text(&(number % 99).to_string(), &mut bytes);
            encode_text("v", &mut bytes);
        }
        let refused = Event::decode(Bytes::from(bytes));
        assert_eq!(refused, Err(EventError::RepeatedKey("0".to_owned())));
    }

    #[test]
    fn a_replaced_header_keeps_its_place() {
        let mut headers = golden_event().headers;
        headers.insert("host", "b2").expect("it fits");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("host", "b2"), ("k", "")]);
        assert_eq!(headers.remove("host").as_deref(), Some("b2"));
        assert_eq!(headers.remove("host"), None);
        assert_eq!((headers.len(), headers.get("k")), (1, Some("")));
    }

    #[test]
    fn one_header_too_many_is_refused() {
        let pairs = (0..HEADERS_MAX).map(|n| (n.to_string().into(), "".into())).collect();
        let mut headers = Headers { pairs };
        assert_eq!(headers.insert("x", ""), Err(EventError::TooManyHeaders));
        assert_eq!(headers.insert("7", "y"), Ok(()));
    }
}
