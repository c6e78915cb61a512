//! What all of the kit stands on: small random numbers, events that say what they are, options.

use std::time::Duration;

use forebay_wal::{Background, Options, SyncClass};

pub const DIR: &str = "/channel";

/// A small random number generator, so that a seed says everything.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.any() >> 16) % limit
    }
}

/// The bits of an event's id above this one may say how long it is.
const LEN_SHIFT: u32 = 40;

/// An id whose event has so many bytes behind its id.
pub fn sized(number: u64, len: u16) -> u64 {
    assert!(number >> LEN_SHIFT == 0);
    number | (u64::from(len) + 1) << LEN_SHIFT
}

/// An event's bytes follow from its id; its length varies, unless the id says it.
pub fn event(id: u64) -> Vec<u8> {
    let len = match (id >> LEN_SHIFT, id % 7) {
        (0, 0) => 0,
        (0, 1) => 3000 + (id % 11) as usize * 500,
        (0, _) => 20 + (id % 200) as usize,
        (len, _) => len as usize - 1,
    };
    let mut bytes = Vec::with_capacity(8 + len);
    bytes.extend_from_slice(&id.to_le_bytes());
    let first = id.wrapping_mul(31);
    bytes.extend((first..first + len as u64).map(|byte| byte as u8));
    bytes
}

/// The id of an event, if its bytes are what was put.
pub fn known_id(bytes: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    // An id that is not one of ours could ask for any length.
    (id >> LEN_SHIFT <= 1 << 16 && bytes == event(id)).then_some(id)
}

pub fn id_of(bytes: &[u8]) -> u64 {
    known_id(bytes).expect("the bytes of an event are what was put")
}

/// A small channel that does nothing by itself.
pub fn options(sync: SyncClass) -> Options {
    Options::new()
        .bytes_max(1 << 20)
        .sync(sync)
        .background(Background::Manual)
        .put_timeout(Duration::ZERO)
        .checkpoint_bytes(64 << 10)
        .cursor("main")
        .cursor("second")
}
