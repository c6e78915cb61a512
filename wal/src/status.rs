//! The status page: a small file with live figures, for those who look from outside.
//!
//! It is never synced and never believed at open. Its text is one line of `key=value` pairs, with
//! a checksum in front, so that a reader who comes in the middle of a change looks again.

use std::path::Path;

use crate::checksum::crc;
use crate::env::Env;
use crate::fs::Page;
use crate::names;

const PAGE_BYTES: usize = 4096;

/// The page of a channel.
#[derive(Debug)]
pub(crate) struct Status {
    page: Box<dyn Page>,
}

impl Status {
    /// Opens the page; `None` where that is not to be had, which harms nothing.
    pub(crate) fn open(env: &Env, dir: &Path) -> Option<Status> {
        let page = env.fs.page(&names::path(dir, names::STATUS), PAGE_BYTES).ok()?;
        Some(Status { page })
    }

    /// Puts new figures there.
    pub(crate) fn store(&mut self, figures: &[(&str, u64)]) {
        let words: Vec<String> =
            figures.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = words.join(" ");
        let mut line = format!("{:08x} {text}\n", crc(text.as_bytes()));
        line.truncate(PAGE_BYTES);
        self.page.store(line.as_bytes());
    }
}

/// Reads a page's text; `None` if it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let (sum, text) = line.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != crc(text.as_bytes()) {
        return None;
    }
    let pairs = text.split(' ').map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((key.to_owned(), value.parse().ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let text = "a=1 b=18446744073709551615";
        let mut page = format!("{:08x} {text}\n", crc(text.as_bytes())).into_bytes();
        page.resize(PAGE_BYTES, 0);
        let figures = parse(&page).expect("a whole page");
        assert_eq!(figures[1], ("b".to_owned(), u64::MAX));
        page[10] ^= 1;
        assert_eq!(parse(&page), None);
        assert_eq!(parse(&[]), None);
    }
}
