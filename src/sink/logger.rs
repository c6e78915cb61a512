//! `logger`: writes each event's start into the log, for looking on.
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `max_bytes_to_log` | 16 | how much of the body is shown, in hex and as text |

use std::fmt::Write;

use bytes::Bytes;
use tracing::info;

use super::{Kind, Sink, SinkState};
use crate::channel::{BoxFuture, Taken};
use crate::config::Section;
use crate::event::Event;
use crate::failure::Failure;

pub(super) const KIND: Kind = Kind { name: "logger", keeps_state: false, configure };

#[derive(Debug)]
struct Logger {
    sink: String,
    bytes_max: usize,
}

fn configure(section: &mut Section<'_>) -> Box<dyn Sink> {
    let bytes_max = section.size("max_bytes_to_log").unwrap_or(16);
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    Box::new(Logger { sink: section.path().to_owned(), bytes_max })
}

impl Sink for Logger {
    fn open(&mut self, _: Option<Bytes>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver(&mut self, events: Vec<Taken>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        for taken in events {
            info!(sink = self.sink, seq = taken.seq, "{}", line(&taken.event, self.bytes_max));
        }
        Box::pin(async { Ok(None) })
    }
}

/// An event in one line: `Event: { headers:{host=a} body: 68 69 0A  hi. }`.
fn line(event: &Event, bytes_max: usize) -> String {
    let mut line = String::from("Event: { headers:{");
    for (number, (key, value)) in event.headers.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        // Escaped: a header must not be able to forge a line of the log.
        line += &format!("{comma}{}={}", key.escape_debug(), value.escape_debug());
    }
    line += "} body:";
    let body = &event.body[..event.body.len().min(bytes_max)];
    for byte in body {
        write!(line, " {byte:02X}").expect("writing to a string cannot fail");
    }
    line += "  ";
    line.extend(body.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    }));
    line += " }";
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_in_hex_and_text() {
        let mut event = Event::new(&b"hi\n\xffthere"[..]);
        event.headers.insert("host", "a\nb").expect("it fits");
        event.headers.insert("n", "1").expect("it fits");
        let expected = "Event: { headers:{host=a\\nb, n=1} body: 68 69 0A FF  hi.. }";
        assert_eq!(line(&event, 4), expected);
        assert_eq!(line(&Event::new("ab"), 0), "Event: { headers:{} body:   }");
    }
}
