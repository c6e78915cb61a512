//! yaque, a queue in files. It hands what it is given to the system and acknowledges; nothing in it
//! ever syncs, so that its rows are no durable commits and stand in the tables for comparison alone.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use forebay::event::Event;
use yaque::{Receiver, ReceiverBuilder, Sender, SenderBuilder, TryRecvError, TrySendError};

use super::{Producer, Store, Taker};
use crate::event::{Encoded, decode};

/// Larger segments than the default's 4 MiB: fewer files are made on the way.
const SEGMENT_BYTES: u64 = 64 << 20;

pub struct Yaque {
    sender: Mutex<Sender>,
    receiver: Mutex<Receiver>,
}

impl Yaque {
    pub fn open(dir: &Path) -> Result<Yaque> {
        // A process that was killed leaves its locks behind.
        if dir.join("send.lock").exists() {
            yaque::recovery::recover(dir)?;
        }
        let sender = SenderBuilder::new().segment_size(SEGMENT_BYTES).open(dir)?;
        // At every take, which is the nearest to a recorded take that there is.
        let receiver = ReceiverBuilder::new().save_every_nth(Some(1)).open(dir)?;
        Ok(Yaque { sender: Mutex::new(sender), receiver: Mutex::new(receiver) })
    }
}

impl Store for Yaque {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Put { sender: &self.sender, encoded: Encoded::default() }))
    }

    fn taker(&self) -> Result<Box<dyn Taker + '_>> {
        Ok(Box::new(Take(&self.receiver)))
    }
}

struct Put<'a> {
    sender: &'a Mutex<Sender>,
    encoded: Encoded,
}

impl Producer for Put<'_> {
    fn put(&mut self, events: &[Event]) -> Result<()> {
        self.encoded.set(events);
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.try_send_batch(self.encoded.iter()) {
            Ok(()) => Ok(()),
            Err(TrySendError::Io(cause)) => Err(cause.into()),
            Err(TrySendError::QueueFull { .. }) => anyhow::bail!("a queue without a limit is full"),
        }
    }
}

struct Take<'a>(&'a Mutex<Receiver>);

impl Taker for Take<'_> {
    fn take(&mut self, events_max: usize, taken: &mut Vec<Event>) -> Result<()> {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events = match receiver.try_recv_batch_up_to(events_max) {
            Ok(guard) => guard.try_into_inner()?,
            Err(TryRecvError::QueueEmpty) => return Ok(()),
            Err(TryRecvError::Io(cause)) => return Err(cause.into()),
        };
        for event in events {
            taken.push(decode(event.into())?);
        }
        Ok(())
    }
}
