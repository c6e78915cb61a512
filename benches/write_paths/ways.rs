//! What is compared.

/// The sizes of the writes, in bytes: from one block to what a full group commit makes.
pub const SIZES: [usize; 6] = [4 << 10, 8 << 10, 52 << 10, 216 << 10, 540 << 10, 1 << 20];

/// The sizes with which writing ahead is tried, in bytes.
pub const AHEAD_SIZES: [usize; 2] = [64 << 10, 256 << 10];

/// How many pieces a vectored write has.
pub const PIECES: usize = 13;

/// One way to make bytes durable before going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the others are compared to.
    Plain,
    Dsync,
    Direct,
    DirectDsync,
    Uring,
    UringDirect,
    /// One vectored write, for a block whose records lie where their producers made them.
    Pieces,
}

impl Way {
    pub fn all() -> impl Iterator<Item = Way> {
        use Way::*;
        [Plain, Dsync, Direct, DirectDsync, Uring, UringDirect, Pieces].into_iter()
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Plain => "pwrite + fdatasync",
            Way::Dsync => "O_DSYNC pwrite",
            Way::Direct => "O_DIRECT pwrite + fdatasync",
            Way::DirectDsync => "O_DIRECT, O_DSYNC pwrite",
            Way::Uring => "io_uring: write, linked fsync",
            Way::UringDirect => "io_uring, O_DIRECT: write, linked fsync",
            Way::Pieces => "pwritev of 13 pieces + fdatasync",
        }
    }

    pub fn is_direct(self) -> bool {
        matches!(self, Way::Direct | Way::DirectDsync | Way::UringDirect)
    }
}

/// Several writes in flight, each durable when it returns: O_DIRECT and O_DSYNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    pub size_bytes: usize,
    /// How many; as many threads write. One is what the others are compared to.
    pub in_flight: usize,
}

impl Ahead {
    pub fn all() -> Vec<Ahead> {
        let with = |size_bytes| [1, 2, 4].map(|in_flight| Ahead { size_bytes, in_flight });
        AHEAD_SIZES.into_iter().flat_map(with).collect()
    }
}
