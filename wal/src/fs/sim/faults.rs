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
    /// As [`Fault::SyncFailsInPart`], and the cache shows what is on the medium from then on, as
    /// file systems do that drop pages which they could not write.
    SyncReverts,
    /// A sync says that it went well and makes nothing durable: a cache that lies, which breaks
    /// every promise. For tests of tests. Other operations go well.
    SyncLies,
}

/// What is asked of the disk, one kind for each call of its traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// A directory is made.
    CreateDir,
    /// The names of a directory are read.
    List,
    /// A file that is there is opened.
    Open,
    /// A file is made.
    Create,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// The names of a directory are made durable.
    SyncDir,
    /// A file is locked.
    Lock,
    /// The owner leaves a word in the locked file.
    Describe,
    /// Somebody asks for the free space.
    Space,
    /// A page is mapped.
    Page,
    /// Somebody asks for the length or the allocation of a file.
    Len,
    /// A file is read, from the cache.
    Read,
    /// A file is read, from the medium.
    ReadMedium,
    /// A file is written.
    Write,
    /// What was written is made durable.
    SyncData,
    /// What was written is made durable, with size and allocation.
    SyncAll,
    /// Blocks are reserved.
    Allocate,
}

impl Call {
    /// All kinds of calls.
    pub const ALL: [Call; 18] = [
        Call::CreateDir,
        Call::List,
        Call::Open,
        Call::Create,
        Call::Rename,
        Call::Remove,
        Call::SyncDir,
        Call::Lock,
        Call::Describe,
        Call::Space,
        Call::Page,
        Call::Len,
        Call::Read,
        Call::ReadMedium,
        Call::Write,
        Call::SyncData,
        Call::SyncAll,
        Call::Allocate,
    ];

    /// Whether it changes or syncs something: only those have a number among all operations.
    pub fn is_operation(self) -> bool {
        use Call::{Len, List, Lock, Open, Page, Read, ReadMedium, Space};
        !matches!(self, List | Open | Lock | Space | Page | Len | Read | ReadMedium)
    }

    /// The faults that mean something to it, each of another kind.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Call::Write => &[Fault::Eio, Fault::Enospc, Fault::ShortWrite],
            Call::SyncData | Call::SyncAll | Call::SyncDir => {
                &[Fault::SyncFails, Fault::SyncFailsInPart, Fault::Enospc]
            }
            Call::CreateDir | Call::Create | Call::Rename | Call::Describe | Call::Allocate => {
                &[Fault::Eio, Fault::Enospc]
            }
            _ => &[Fault::Eio],
        }
    }
}

/// The faults that one kind of call meets, by their numbers among the calls of that kind.
#[derive(Debug, Clone, Default)]
struct Numbered {
    at: BTreeMap<u64, Fault>,
    from: BTreeMap<u64, Fault>,
}

impl Numbered {
    fn fault(&self, number: u64) -> Option<Fault> {
        let lasting = self.from.range(..=number).next_back();
        self.at.get(&number).or(lasting.map(|(_, fault)| fault)).copied()
    }
}

/// Which operation meets which fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    ops: Numbered,
    calls: BTreeMap<Call, Numbered>,
    /// What all files together may allocate from an operation on.
    capacity_bytes: BTreeMap<u64, u64>,
    pub(super) crash_at: Option<u64>,
}

impl Plan {
    /// The fault of a call, by its number among all operations, if it is one, and by the one
    /// among the calls of its kind.
    pub(super) fn fault(&self, op: Option<u64>, call: Call, number: u64) -> Option<Fault> {
        let by_kind = || self.calls.get(&call).and_then(|plan| plan.fault(number));
        op.and_then(|op| self.ops.fault(op)).or_else(by_kind)
    }

    pub(super) fn fail_at(&mut self, op: u64, fault: Fault) {
        self.ops.at.insert(op, fault);
    }

    pub(super) fn fail_from(&mut self, op: u64, fault: Fault) {
        self.ops.from.insert(op, fault);
    }

    pub(super) fn fail_call_at(&mut self, call: Call, number: u64, fault: Fault) {
        self.calls.entry(call).or_default().at.insert(number, fault);
    }

    pub(super) fn fail_calls_from(&mut self, call: Call, number: u64, fault: Fault) {
        self.calls.entry(call).or_default().from.insert(number, fault);
    }

    pub(super) fn set_capacity_at(&mut self, op: u64, bytes: u64) {
        self.capacity_bytes.insert(op, bytes);
    }

    /// The capacity that was planned for this operation or an earlier one, once.
    pub(super) fn take_capacity(&mut self, op: u64) -> Option<u64> {
        let later = self.capacity_bytes.split_off(&(op + 1));
        let due = std::mem::replace(&mut self.capacity_bytes, later);
        due.into_values().next_back()
    }

    pub(super) fn heal(&mut self) {
        *self = Plan { crash_at: self.crash_at, ..Plan::default() };
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
        Some(
            Fault::ShortWrite
            | Fault::SyncFails
            | Fault::SyncFailsInPart
            | Fault::SyncReverts
            | Fault::SyncLies,
        )
        | None => Ok(()),
    }
}
