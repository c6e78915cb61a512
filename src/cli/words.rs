//! Figures in words, as several commands say them.

use std::fmt::Write as _;

/// Lines of a name and what is to be said of it, the names in a column of their own.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
}

impl Lines {
    pub(super) fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{name:<13}{value}").expect("writing to a string cannot fail");
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// 16 bytes as `8-4-4-4-12` hexadecimal digits.
pub(super) fn hyphenated(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (at, byte) in uuid.iter().enumerate() {
        let hyphen = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
        text += &format!("{hyphen}{byte:02x}");
    }
    text
}

pub(super) fn events(count: u64) -> String {
    counted(count, "event")
}

pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes with the largest unit that leaves a whole one.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_uuid_has_its_hyphens() {
        let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(hyphenated(&uuid), "00010203-0405-0607-0809-0a0b0c0d0eff");
    }
}
