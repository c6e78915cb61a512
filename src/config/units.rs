//! Sizes like `64MiB` and times like `100ms`, as configuration and command line write them.

use std::time::Duration;

const SIZES: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const TIMES: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Reads a size: a whole number of bytes, or one with a unit from `B` to `TiB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or_else(|| size_problem(text))?;
    let factor = match unit {
        "" => 1,
        unit => find(&SIZES, unit).ok_or_else(|| size_problem(text))?,
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than can be counted"))
}

/// Reads a time: a whole number with a unit from `us` to `d`, or 0.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or_else(|| duration_problem(text))?;
    let factor = match unit {
        "" if number == 0 => 1,
        unit => find(&TIMES, unit).ok_or_else(|| duration_problem(text))?,
    };
    let micros = number.checked_mul(factor);
    micros.map(Duration::from_micros).ok_or_else(|| format!("{text:?} is more than can be counted"))
}

fn find(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// Splits `64MiB` into 64 and `MiB`; a space may stand between them.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn size_problem(text: &str) -> String {
    format!("{text:?} is not a size; write it like \"64MiB\" or \"1GB\"")
}

fn duration_problem(text: &str) -> String {
    format!("{text:?} is not a time; write it like \"100ms\" or \"30s\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let table = [("0", 0), ("17", 17), ("17B", 17), ("4 KiB", 4096), ("64MiB", 64 << 20)];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("1GB"), Ok(1_000_000_000));
        for text in ["", "MiB", "-1", "1.5MiB", "1 mib", "99999999999999999999", "99999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit_unless_they_are_zero() {
        let table = [("0", 0), ("100ms", 100), ("30s", 30_000), ("2 m", 120_000)];
        for (text, millis) in table {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "1.5s", "1 year", "9999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
