//! What a source puts and a sink takes: headers and a body.
//!
//! An event is stored as bytes that a channel never looks into. This is their layout, all
//! numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | the format, 1 |
//! | 1.. | how many headers follow |
//! | 1.., *k* | a header's key: its length, and the key in UTF-8 |
//! | 1.., *v* | the same header's value: its length, and the value in UTF-8 |
//! | ... | the other headers, in the order in which they were first inserted |
//! | the rest | the body |
//!
//! A count or a length stands in as many bytes as it needs, seven bits in each, the lowest first; all
//! but the last byte have their highest bit set. Those of most events take one byte.
//!
//! The bytes are valid if and only if they start with format 1, every length lies inside them,
//! every key and value is UTF-8, no key occurs twice, and no number is longer than it need be. So each event has one encoding, and each
//! valid encoding is one event. Decoding reads what is there and nothing else: it never panics,
//! and what it allocates grows with the bytes it is given, never with a length they claim.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;

/// The format byte that every event of this version starts with.
const FORMAT: u8 = 1;
/// The most bytes of a number.
const NUMBER_BYTES_MAX: usize = 5;
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

    /// The same event in memory of its own: one that was taken is a slice of what was read with it.
    #[must_use]
    pub fn copied(&self) -> Event {
        let encoded = Bytes::copy_from_slice(&self.headers.encoded);
        let headers = Headers { encoded, ..self.headers };
        Event { headers, body: Bytes::copy_from_slice(&self.body) }
    }

    /// How many bytes [`Event::encode_into`] appends.
    pub fn encoded_len(&self) -> usize {
        1 + number_len(self.headers.count) + self.headers.encoded.len() + self.body.len()
    }

    /// Appends the event's encoding.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.reserve(self.encoded_len());
        buffer.push(FORMAT);
        encode_number(self.headers.count, buffer);
        buffer.extend_from_slice(&self.headers.encoded);
        buffer.extend_from_slice(&self.body);
        debug_assert_eq!(buffer.len() - start, self.encoded_len());
    }

    /// Reads an event back. Headers and body are slices of `encoded`, not copies.
    pub fn decode(encoded: Bytes) -> Result<Event, EventError> {
        let mut rest: &[u8] = &encoded;
        let format = decode_array::<1>(&mut rest)?[0];
        if format != FORMAT {
            return Err(EventError::Format(format));
        }
        let count = decode_number(&mut rest)?;
        if count > HEADERS_MAX {
            return Err(EventError::TooManyHeaders);
        }
        // Two lengths a header is the least that can follow; a larger count is a lie.
        if count > rest.len() / 2 {
            return Err(EventError::Cut);
        }
        let start = rest;
        let mut keys: HashSet<&str> = HashSet::new();
        for number in 0..count {
            let key = decode_text(&mut rest)?;
            let repeated = if count <= KEYS_COMPARED_MAX {
                Pairs { rest: start }.take(number).any(|(earlier, _)| earlier == key)
            } else {
                !keys.insert(key)
            };
            if repeated {
                return Err(EventError::RepeatedKey(key.to_owned()));
            }
            decode_text(&mut rest)?;
        }
        let (from, until) = (encoded.len() - start.len(), encoded.len() - rest.len());
        let headers = Headers { count, encoded: encoded.slice(from..until) };
        Ok(Event { headers, body: encoded.slice(until..) })
    }
}

fn encode_text(text: &str, buffer: &mut Vec<u8>) {
    encode_number(text.len(), buffer);
    buffer.extend_from_slice(text.as_bytes());
}

/// The bytes that a number takes.
fn number_len(number: usize) -> usize {
    let bits = usize::BITS - number.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

fn encode_number(number: usize, buffer: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        buffer.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push(rest as u8);
}

/// A number of up to 32 bits, in no more bytes than it needs.
fn decode_number(rest: &mut &[u8]) -> Result<usize, EventError> {
    let mut number = 0_u64;
    for at in 0..NUMBER_BYTES_MAX {
        let [byte] = decode_array(rest)?;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            let short = at == 0 || byte > 0;
            let number = u32::try_from(number).ok().filter(|_| short);
            return number.map(|number| number as usize).ok_or(EventError::Number);
        }
    }
    Err(EventError::Number)
}

fn decode_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, EventError> {
    let length = decode_number(rest)?;
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
/// they stand one behind the other and are found by looking through it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    count: usize,
    /// Keys and values as they stand in an event's bytes: most events are passed on as they came.
    encoded: Bytes,
}

/// Goes through keys and values that were looked at before.
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        Some((decode_text(&mut self.rest).ok()?, decode_text(&mut self.rest).ok()?))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl Headers {
    fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Headers {
        let (mut count, mut encoded) = (0, Vec::new());
        for (key, value) in pairs {
            encode_text(key, &mut encoded);
            encode_text(value, &mut encoded);
            count += 1;
        }
        Headers { count, encoded: encoded.into() }
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// Sets the value under a key; a key that is there keeps its place.
    pub fn insert(
        &mut self,
        key: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), EventError> {
        let (key, value) = (key.as_ref(), value.as_ref());
        if u32::try_from(key.len()).is_err() || u32::try_from(value.len()).is_err() {
            return Err(EventError::HeaderTooLong);
        }
        if self.get(key).is_some() {
            let replaced = |(found, old)| (found, if found == key { value } else { old });
            *self = Headers::from_pairs(self.iter().map(replaced));
        } else if self.count == HEADERS_MAX {
            return Err(EventError::TooManyHeaders);
        } else {
            let pairs = self.iter().chain(std::iter::once((key, value)));
            *self = Headers::from_pairs(pairs);
        }
        Ok(())
    }

    /// Removes a key, and says what stood under it.
    pub fn remove(&mut self, key: &str) -> Option<Box<str>> {
        let value: Box<str> = self.get(key)?.into();
        *self = Headers::from_pairs(self.iter().filter(|(found, _)| *found != key));
        Some(value)
    }

    /// All keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs { rest: &self.encoded }
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
    /// A count or a length is longer than it need be, or has more than 32 bits.
    Number,
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
            EventError::Number => {
                formatter.write_str("a length is longer than it need be, or larger than it can be")
            }
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
    const GOLDEN: &[u8] = b"\x01\x02\x04host\x02a1\x01k\0line \xff\x00one";

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
    fn an_empty_event_is_two_bytes() {
        assert_eq!(encoded(&Event::default()), &b"\x01\0"[..]);
        assert_eq!(Event::decode(Bytes::from_static(b"\x01\0")), Ok(Event::default()));
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
        let table: [(&'static [u8], EventError); 11] = [
            (b"\x02\0", EventError::Format(2)),
            (b"\x01\xff\xff", EventError::Cut),
            (b"\x01\xff\xff\x04", EventError::TooManyHeaders),
            (b"\x01\xff\xff\x03", EventError::Cut),
            (b"\x01\x80\0", EventError::Number),
            (b"\x01\x01\x81\0a\0", EventError::Number),
            (b"\x01\x01\xff\xff\xff\xff\x1f\0", EventError::Number),
            (b"\x01\x01\xff\xff\xff\xff\x0f\0", EventError::Cut),
            (b"\x01\x01\x01\xff\0", EventError::NotText),
            (b"\x01\x01\0\x01\xc3", EventError::NotText),
            (b"\x01\x02\x01a\0\x01a\0", EventError::RepeatedKey("a".to_owned())),
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
        bytes.push(100);
        for number in 0..100 {
            encode_text(&(number % 99).to_string(), &mut bytes);
            encode_text("v", &mut bytes);
        }
        let refused = Event::decode(Bytes::from(bytes));
        assert_eq!(refused, Err(EventError::RepeatedKey("0".to_owned())));
    }

    #[test]
    fn texts_of_any_length_come_back() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut event = Event::new("body");
            event.headers.insert("k", "v".repeat(len)).expect("it fits");
            assert_eq!(Event::decode(encoded(&event)), Ok(event));
        }
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
        let keys: Vec<String> = (0..HEADERS_MAX).map(|n| n.to_string()).collect();
        let mut headers = Headers::from_pairs(keys.iter().map(|key| (key.as_str(), "")));
        assert_eq!(headers.insert("x", ""), Err(EventError::TooManyHeaders));
        assert_eq!(headers.insert("7", "y"), Ok(()));
    }
}
