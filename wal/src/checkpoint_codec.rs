//! The body of a checkpoint, by `bincode`: the only file that names it.
//!
//! Version 2.0.1 of that package is the last one that builds and nobody maintains it; what it
//! writes here is pinned by golden bytes, and its `legacy` layout (fixed little-endian integers,
//! lengths of 64 bits) is what other packages write as well, so that it can be replaced.

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};

/// The most bytes that a body may make the decoder allocate.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct Body {
    /// One higher at each checkpoint.
    pub(crate) number: u64,
    /// The segment in which the log behind this state goes on.
    pub(crate) segment: u64,
    /// Where in it.
    pub(crate) offset_bytes: u64,
    /// The checksum of the last block's header before that.
    pub(crate) prev_crc: u32,
    /// The state, in the bytes of a State record.
    pub(crate) state: Vec<u8>,
}

fn layout() -> Configuration<LittleEndian, Fixint, Limit<BODY_BYTES_MAX>> {
    config::legacy().with_limit::<BODY_BYTES_MAX>()
}

/// The body's bytes; `None` if it is larger than a reader would accept.
pub(crate) fn encode(body: &Body) -> Option<Vec<u8>> {
    let bytes = bincode::encode_to_vec(body, layout()).ok()?;
    (bytes.len() <= BODY_BYTES_MAX).then_some(bytes)
}

/// Reads a body whose checksum was good.
pub(crate) fn decode(bytes: &[u8]) -> Option<Body> {
    let (body, used) = bincode::decode_from_slice(bytes, layout()).ok()?;
    (used == bytes.len()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_pinned() {
        let body = Body {
            number: 1,
            segment: 2,
            offset_bytes: 3,
            prev_crc: 0x0a0b_0c0d,
            state: vec![0xaa, 0xbb],
        };
        let golden = [
            1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0x0c,
            0x0b, 0x0a, 2, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb,
        ];
        assert_eq!(encode(&body).as_deref(), Some(&golden[..]));
        assert_eq!(decode(&golden), Some(body));
        assert_eq!(decode(&golden[..37]), None);
        // A length that asks for more than there is.
        let mut greedy = golden;
        greedy[28..36].fill(0xff);
        assert_eq!(decode(&greedy), None);
    }
}
