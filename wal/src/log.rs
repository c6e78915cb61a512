//! The end of the log: where the next block goes, and what is known to be synced.
//!
//! One at a time holds it, the leader of the group commit. The write of a block starts after the
//! sync of the one before has returned.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::block::Body;
use crate::company::Company;
use crate::env::Env;
use crate::format::{BlockHeader, SMALL_BLOCK_BYTES, STATE_OFFSET, Uuid};
use crate::fs::File;
use crate::options::SyncClass;
use crate::record::{Record, Seal};
use crate::segment::Segment;
use crate::state::State;

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) uuid: Uuid,
    pub(crate) class: SyncClass,
    pub(crate) active: Segment,
    pub(crate) file: Arc<dyn File>,
    /// Where the next block goes.
    pub(crate) offset: u64,
    pub(crate) generation: u64,
    pub(crate) generation_lsn: u64,
    pub(crate) next_lsn: u64,
    pub(crate) next_seq: u64,
    /// The checksum of the last block's header.
    pub(crate) prev_crc: u32,
    /// The highest LSN that is synced.
    pub(crate) durable_lsn: u64,
    /// The seq behind the last one that is synced.
    pub(crate) synced_seq: u64,
    /// The log as it was when all of it was synced (weaker classes only).
    pub(crate) synced: Option<Box<Synced>>,
    pub(crate) last_sync: Duration,
    /// The highest `durable_lsn` that stands in a synced block: what a checkpoint may rely on.
    pub(crate) evidence_lsn: u64,
    /// The first LSN of the active segment.
    pub(crate) begun_lsn: u64,
    /// Whether something was written since the last sync.
    pub(crate) unsynced: bool,
    /// When the last block with a record was written.
    pub(crate) last_write: Duration,
    /// Figures.
    pub(crate) written: Written,
    /// Who else commits.
    pub(crate) company: Company,
}

/// A moment at which all of the log was synced.
#[derive(Debug, Clone)]
pub(crate) struct Synced {
    /// Where the next block went.
    pub(crate) offset: u64,
    pub(crate) state: State,
}

/// What went to the disk since the channel was opened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) syncs: u64,
    pub(crate) commits: u64,
    pub(crate) rolls: u64,
    /// Those of them that went on in a segment which had never been written before.
    pub(crate) fresh_rolls: u64,
}

impl Log {
    /// Whether a block of so many bytes has room in the active segment, with its seal behind it.
    pub(crate) fn fits(&self, block_bytes: u64) -> bool {
        self.offset + block_bytes + SMALL_BLOCK_BYTES <= self.active.len_bytes
    }

    /// Appends a block, and syncs it if asked to. After an error the segment is not to be trusted
    /// with anything more.
    pub(crate) fn append(
        &mut self,
        env: &Env,
        body: &Body,
        next_seq_after: u64,
        sync: bool,
    ) -> io::Result<()> {
        assert!(self.offset + body.block_bytes() <= self.active.len_bytes);
        assert!(self.next_seq <= next_seq_after);
        let header = body.complete(self.header(env, next_seq_after));
        let (bytes, crc) = header.encode();
        body.write(&bytes, &*self.file, self.offset)?;
        self.written.bytes += body.block_bytes();
        self.written.blocks += 1;
        self.unsynced = true;
        if sync {
            self.file.sync_data()?;
            self.written.syncs += 1;
            self.unsynced = false;
            self.durable_lsn = header.next_lsn() - 1;
            self.synced_seq = next_seq_after;
            self.evidence_lsn = header.durable_lsn;
        }
        self.offset += body.block_bytes();
        self.next_lsn = header.next_lsn();
        self.next_seq = next_seq_after;
        self.prev_crc = crc;
        if header.records > 0 {
            self.last_write = env.clock.monotonic();
        }
        Ok(())
    }

    fn header(&self, env: &Env, next_seq_after: u64) -> BlockHeader {
        BlockHeader {
            uuid: self.uuid,
            segment: self.active.id,
            salt: self.active.salt,
            offset: self.offset,
            generation: self.generation,
            generation_lsn: self.generation_lsn,
            first_lsn: self.next_lsn,
            next_seq_before: self.next_seq,
            next_seq_after,
            durable_lsn: self.durable_lsn,
            written_us: env.clock.wall_us(),
            sync_class: self.class.code(),
            prev_crc: self.prev_crc,
            ..BlockHeader::default()
        }
    }

    /// Syncs what a weaker class has left unsynced.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.written.syncs += 1;
            self.unsynced = false;
            self.durable_lsn = self.next_lsn - 1;
            self.synced_seq = self.next_seq;
        }
        Ok(())
    }

    /// Whether a watermark would tell the next open something that no block tells yet.
    pub(crate) fn wants_watermark(&self) -> bool {
        // The seal may go over it, so that it needs no room beside the seal's.
        self.evidence_lsn < self.durable_lsn
            && self.offset + SMALL_BLOCK_BYTES <= self.active.len_bytes
    }

    /// Writes down, in a block without records, what is synced. The next block goes over it: it
    /// acknowledges nothing, and that block says the same.
    pub(crate) fn write_watermark(&mut self, env: &Env) -> io::Result<()> {
        let before = (self.offset, self.prev_crc);
        self.append(env, &Body::default(), self.next_seq, true)?;
        (self.offset, self.prev_crc) = before;
        Ok(())
    }

    /// Ends the active segment, naming the next one: everything in it is synced after this.
    pub(crate) fn write_seal(&mut self, env: &Env, next: &Segment) -> io::Result<()> {
        let mut body = Body::default();
        let seal = Seal { next_seq: self.next_seq, next_segment: next.id, next_salt: next.salt };
        body.push(&Record::Seal(seal), None);
        self.append(env, &body, self.next_seq, true)
    }

    /// Goes on in another segment: two copies of its State, synced, and nothing else in it yet.
    pub(crate) fn begin(
        &mut self,
        env: &Env,
        segment: Segment,
        file: Arc<dyn File>,
        state: State,
    ) -> io::Result<()> {
        self.active = segment;
        self.file = file;
        self.offset = STATE_OFFSET;
        self.begun_lsn = self.next_lsn;
        self.written.rolls += 1;
        self.written.fresh_rolls += u64::from(!self.active.is_written());
        self.write_state(env, state)
    }

    /// Writes two copies of a State, one synced before the other is written: where only the second
    /// one had come through, what stood in the place of the first would stand inside of the log.
    pub(crate) fn write_state(&mut self, env: &Env, state: State) -> io::Result<()> {
        let mut body = Body::default();
        body.push(&Record::State(Box::new(state)), None);
        self.append(env, &body, self.next_seq, true)?;
        self.append(env, &body, self.next_seq, true)
    }

    /// Begins a new era: from the next LSN on, blocks of older ones are void.
    pub(crate) fn new_generation(&mut self) {
        self.generation += 1;
        self.generation_lsn = self.next_lsn;
    }
}
