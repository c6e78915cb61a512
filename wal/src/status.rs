//! The status page: a small file with live figures, for those who look from outside.
//!
//! It is never synced and never believed at open. Its text is a line of `key=value` pairs and, if
//! there is something to be said, a line of words; each with a checksum in front, so that a reader
//! who comes in the middle of a change looks again.

use std::path::Path;

use crate::checksum::crc;
use crate::env::Env;
use crate::fs::Page;
use crate::names;

const PAGE_BYTES: usize = 4096;
/// As much of the words is shown; the figures take some hundred bytes.
const WORDS_BYTES_MAX: usize = 2048;

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

    /// Puts new figures there, and what is to be said.
    pub(crate) fn store(&mut self, figures: &[(&str, u64)], words: Option<&str>) {
        let pairs: Vec<String> =
            figures.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut page = line(&pairs.join(" "));
        let words = words.unwrap_or_default().replace(|c: char| c.is_control(), " ");
        let cut = words.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = cut.take_while(|&end| end <= WORDS_BYTES_MAX).last().unwrap_or(0);
        page += &line(&words[..end]);
        self.page.store(page.as_bytes());
    }
}

fn line(text: &str) -> String {
    format!("{:08x} {text}\n", crc(text.as_bytes()))
}

/// The text of the line that the bytes begin with, and what is behind it; `None` if it is not whole.
fn first_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let (sum, text) = line.split_once(' ')?;
    let whole = u32::from_str_radix(sum, 16).ok()? == crc(text.as_bytes());
    whole.then_some((text, &bytes[end + 1..]))
}

/// Reads the words of a page, if there are any and they are whole.
pub(crate) fn parse_words(bytes: &[u8]) -> Option<String> {
    let (_, rest) = first_line(bytes)?;
    let (words, _) = first_line(rest)?;
    (!words.is_empty()).then(|| words.to_owned())
}

/// Reads the figures of a page; `None` if they are not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let (text, _) = first_line(bytes)?;
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
        page.extend(line("why not").as_bytes());
        page.resize(PAGE_BYTES, 0);
        assert_eq!(parse_words(&page).as_deref(), Some("why not"));
        let figures = parse(&page).expect("a whole page");
        assert_eq!(figures[1], ("b".to_owned(), u64::MAX));
        page[10] ^= 1;
        assert_eq!(parse(&page), None);
        assert_eq!(parse(&[]), None);
    }
}
