//! Neighbouring events as bytes: each its length, then itself.
//!
//! A length below 65,535 takes two bytes; a longer one takes these two, all ones, and four more.
//! Most events are short, and the bytes that a put costs beside its events are what its lengths
//! cost.

/// The bytes of a short length.
pub(crate) const SHORT_HEAD: usize = 2;
/// The bytes of a long one.
const LONG_HEAD: usize = 6;
/// What stands in the place of a short length where a long one follows.
const LONG: u16 = u16::MAX;

/// The bytes of the length of an event of so many bytes.
pub(crate) fn head_len(len: usize) -> usize {
    if len < usize::from(LONG) { SHORT_HEAD } else { LONG_HEAD }
}

/// The longest event that fits into so many bytes, with its length.
pub(crate) fn longest_within(bytes: usize) -> usize {
    let with_short = bytes.saturating_sub(SHORT_HEAD);
    if head_len(with_short) == SHORT_HEAD {
        with_short
    } else {
        (bytes - LONG_HEAD).max(usize::from(LONG) - 1)
    }
}

/// Completes an event that was appended behind the place of a short length at `start`.
pub(crate) fn close(bytes: &mut Vec<u8>, start: usize) {
    let len = bytes.len() - start - SHORT_HEAD;
    match u16::try_from(len) {
        Ok(short) if short < LONG => {
            bytes[start..start + SHORT_HEAD].copy_from_slice(&short.to_le_bytes());
        }
        _ => {
            let body = start + SHORT_HEAD..bytes.len();
            bytes.resize(start + LONG_HEAD + len, 0);
            bytes.copy_within(body, start + LONG_HEAD);
            bytes[start..start + SHORT_HEAD].copy_from_slice(&LONG.to_le_bytes());
            let long = (len as u32).to_le_bytes();
            bytes[start + SHORT_HEAD..start + LONG_HEAD].copy_from_slice(&long);
        }
    }
}

/// Where the first event stands in `bytes`; `None` if they are not what they should be. Each
/// length has one form.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let short = u16::from_le_bytes(*bytes.first_chunk()?);
    let (head, len) = if short < LONG {
        (SHORT_HEAD, usize::from(short))
    } else {
        let long = u32::from_le_bytes(*bytes.get(SHORT_HEAD..)?.first_chunk()?);
        (LONG_HEAD, (long >= u32::from(LONG)).then_some(long as usize)?)
    };
    (bytes.len() - head >= len).then_some(head..head + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_any_length_come_back() {
        let mut bytes = Vec::new();
        let lens = [0, 1, 527, 65_533, 65_534, 65_535, 65_536, 1_000_000, 3];
        for len in lens {
            let start = bytes.len();
            bytes.extend_from_slice(&[0; SHORT_HEAD]);
            bytes.extend((0..len).map(|n| (n % 251) as u8));
            close(&mut bytes, start);
            assert_eq!(bytes.len() - start, head_len(len) + len);
        }
        let mut rest = &bytes[..];
        for len in lens {
            let event = first(rest).expect("it is there");
            assert_eq!(event.len(), len);
            assert!(rest[event.clone()].iter().enumerate().all(|(n, &b)| b == (n % 251) as u8));
            rest = &rest[event.end..];
        }
        assert_eq!(first(rest), None);
    }

    #[test]
    fn what_is_cut_or_has_another_form_is_no_event() {
        for bad in [&[][..], &[1], &[2, 0, 7], &[255, 255], &[255, 255, 1, 0, 0], &[255; 9]] {
            assert_eq!(first(bad), None, "{bad:?}");
        }
        let mut long = vec![255, 255, 254, 255, 0, 0];
        long.resize(6 + 65_534, 0);
        assert_eq!(first(&long), None, "this length has a shorter form");
    }

    #[test]
    fn the_longest_event_fits_and_one_byte_more_does_not() {
        for bytes in [2, 100, 65_535, 65_536, 65_537, 65_538, 65_540, 65_541, 65_542, 1 << 24] {
            let len = longest_within(bytes);
            assert!(len + head_len(len) <= bytes, "{bytes}");
            assert!(len + 1 + head_len(len + 1) > bytes, "{bytes}");
        }
    }
}
