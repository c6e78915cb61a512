//! The faults that a test plans for a simulated disk.

use std::collections::BTreeMap;
use std::io;

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with EIO and changes nothing. A sync fails as with [`Fault::SyncFails`].
    Eio,
    /// It fails with ENOSPC and changes nothing. A sync fails as with [`Fault::SyncFails`], as
    /// it does on file systems that allocate late.
    Enospc,
    /// A write writes less than asked for, but something. Other operations go well.
    ShortWrite,
    /// A sync fails with EIO. What it should have made durable can be read until the power cut,
    /// and is lost then, even if a later sync of the same file goes well. Other operations go well.
    SyncFails,
    /// As [`Fault::SyncFails`], and some of it reached the medium, chosen by the seed.
    SyncFailsInPart,
    /// A sync says that it went well and makes nothing durable: a cache that lies, which breaks
    /// every promise. For tests of tests. Other operations go well.
    SyncLies,
}

/// Which operation meets which fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) at: BTreeMap<u64, Fault>,
    pub(super) from: BTreeMap<u64, Fault>,
    pub(super) crash_at: Option<u64>,
}

impl Plan {
    pub(super) fn fault(&self, op: u64) -> Option<Fault> {
        let lasting = self.from.range(..=op).next_back();
        self.at.get(&op).or(lasting.map(|(_, fault)| fault)).copied()
    }

    pub(super) fn crashes(&self, op: u64) -> bool {
        self.crash_at.is_some_and(|at| op >= at)
    }
}

/// What every call says once the power is cut or the process killed.
pub(super) fn crashed() -> io::Error {
    io::Error::other("crashed")
}

pub(super) fn eio() -> io::Error {
    rustix::io::Errno::IO.into()
}

pub(super) fn enospc() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

/// What an operation that is neither a write nor a sync makes of a fault.
pub(super) fn refuse(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        Some(Fault::Eio) => Err(eio()),
        Some(Fault::Enospc) => Err(enospc()),
        Some(Fault::ShortWrite | Fault::SyncFails | Fault::SyncFailsInPart | Fault::SyncLies)
        | None => Ok(()),
    }
}
