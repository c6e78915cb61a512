//! A write and the sync behind it by one call into io_uring.
//!
//! It stands outside of the workspace because pushing into a ring is unsafe, and the workspace
//! denies that. Only the experiment on write paths uses it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

const WRITE: u64 = 1;
const SYNC: u64 = 2;

/// A ring that one thread uses, with nothing in flight between its calls.
pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// Asks the kernel for a ring.
    ///
    /// # Errors
    ///
    /// Where the kernel has no io_uring, or does not permit it.
    pub fn new() -> io::Result<Ring> {
        Ok(Ring { ring: IoUring::new(4)? })
    }

    /// Writes bytes at an offset and then syncs the file's data: two linked requests by one call,
    /// which returns when both are done.
    ///
    /// # Errors
    ///
    /// Those of the write and of the sync, and of a write that was cut short.
    pub fn write_and_sync(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let write = opcode::Write::new(fd, bytes.as_ptr(), len).offset(offset).build();
        let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        self.push(&[write.flags(Flags::IO_LINK).user_data(WRITE), sync.user_data(SYNC)])?;
        self.finish(2)?.into_iter().try_for_each(|(request, result)| match result {
            // The sync of a failed write is cancelled: the write says why.
            failed if failed < 0 => Err(io::Error::from_raw_os_error(-failed)),
            written if request == WRITE && written.unsigned_abs() != len => {
                Err(io::Error::new(io::ErrorKind::WriteZero, format!("{written} of {len} bytes")))
            }
            _ => Ok(()),
        })
    }

    fn push(&mut self, requests: &[Entry]) -> io::Result<()> {
        // SAFETY: the requests name bytes and a file that `write_and_sync` borrows, and it does not
        // return before the kernel is done with each of them.
        unsafe { self.ring.submission().push_multiple(requests) }.map_err(io::Error::other)
    }

    /// Submits, and waits for as many answers. They come in the order of the requests.
    fn finish(&mut self, requests: usize) -> io::Result<Vec<(u64, i32)>> {
        let mut answers = Vec::with_capacity(requests);
        while answers.len() < requests {
            match self.ring.submit_and_wait(requests - answers.len()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel may still hold the caller's bytes, so there is no way to return.
                Err(error) => panic!("a ring that took requests cannot be waited for: {error}"),
            }
            let answered = self.ring.completion();
            answers.extend(answered.map(|answer| (answer.user_data(), answer.result())));
        }
        Ok(answers)
    }
}
