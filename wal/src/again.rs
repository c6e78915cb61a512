//! After a failed write or sync in a weaker class: what was acknowledged before a sync stands in
//! the failed segment, and nothing is known of what the disk has of it. As long as it can be read
//! back it is appended again, same LSNs, same seqs, in a new generation that voids it there.

use crate::block::{Body, records};
use crate::checksum::Sum;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::log::{Log, Synced};
use crate::ranges::SeqRange;
use crate::record::{Loss, LossReason, Record};
use crate::replay::{Found, read_body, scan};
use crate::state::State;
use crate::sync::{Arc, lock};

/// What is told anew, and how far it has come.
struct Again {
    /// The state of what has been appended.
    state: State,
    losses: Vec<Loss>,
    /// The segment that failed.
    failed: u64,
    at: u64,
}

impl Engine {
    /// Appends again what was written after the last sync. If that fails too, the channel ends:
    /// what is left of it shows when it is opened again.
    pub(crate) fn append_again(&self, log: &mut Log) -> Result<()> {
        let end = (log.next_lsn, log.next_seq);
        let outcome = match log.synced.take() {
            Some(synced) => self.try_again(log, *synced, end),
            None => Err(Error::failed()),
        };
        outcome.inspect_err(|error| {
            (log.next_lsn, log.next_seq) = end;
            self.fail(error);
        })
    }

    fn try_again(&self, log: &mut Log, synced: Synced, end: (u64, u64)) -> Result<()> {
        let (file, owner) = (Arc::clone(&log.file), log.active.owner());
        let generation = log.generation;
        let (from, until) = (synced.offset, log.offset);
        let mut again =
            Again { state: synced.state, losses: Vec::new(), failed: owner.segment, at: from };
        (log.next_lsn, log.next_seq) = (again.state.next_lsn, again.state.next_seq);
        log.unsynced = false;
        log.new_generation();
        let next = self.next_segment(log)?;
        self.stamp(log, &mut again.state);
        // If nothing more succeeds, this is what the next open is told.
        let mut lost = again.state.clone();
        if end.1 > lost.next_seq {
            lost.note_loss(&again.loss(self, (log.next_lsn, log.next_seq), end, until));
        }
        self.begin_in(log, next, &mut lost)?;
        again.state.segments = lost.segments;
        again.state.prev_end = lost.prev_end;
        // A segment that cannot be read at all holds nothing that could be told again.
        let blocks = scan(&*file, owner, from, until).map_or(Vec::new(), |scan| scan.blocks);
        for found in blocks.iter().filter(|found| found.header.generation == generation) {
            let body = read_body(&*file, &found.header).ok();
            let records = body.and_then(|body| records(&found.header, body)).unwrap_or_default();
            if found.header.records > 0 && !records.is_empty() {
                self.tell(log, &mut again, found, &records)?;
            }
        }
        again.pass_gap(self, log, end, until)?;
        self.settle(log, again)
    }

    /// Appends the records of one block.
    fn tell(
        &self,
        log: &mut Log,
        again: &mut Again,
        found: &Found,
        records: &[Record],
    ) -> Result<()> {
        let header = &found.header;
        again.pass_gap(self, log, (header.first_lsn, header.next_seq_before), header.offset)?;
        let mut body = Body::default();
        for record in records {
            let sum = match record {
                Record::Put(put) => Sum::of_long(&put.events),
                _ => None,
            };
            body.push(record, sum);
        }
        if !log.fits(body.block_bytes()) {
            // The State may have grown since the failed segment began.
            again.go_on(self, log)?;
        }
        log.append(&self.env, &body, header.next_seq_after, false)
            .map_err(|error| failed(log, error))?;
        records.iter().for_each(|record| again.state.apply(record));
        again.at = found.end();
        Ok(())
    }

    /// All that could be read has its place: a synced State says so, and the log goes on there.
    fn settle(&self, log: &mut Log, mut again: Again) -> Result<()> {
        if !again.losses.is_empty() {
            // Acknowledgements of takes and the like are known all the same.
            let now = lock(&self.view).state.clone();
            let state = &mut again.state;
            state.cursors = now.cursors;
            state.next_cursor = now.next_cursor;
            state.producers = now.producers;
            state.positions = now.positions;
            for loss in &again.losses {
                state.pass_over(loss.seqs);
            }
        }
        again.write_state(self, log)?;
        self.adopt(log, again.state, &again.losses);
        Ok(())
    }
}

impl Again {
    /// What cannot be read back is lost: the ledger says so, and what follows keeps its numbers.
    fn pass_gap(
        &mut self,
        engine: &Engine,
        log: &mut Log,
        (next_lsn, next_seq): (u64, u64),
        offset: u64,
    ) -> Result<()> {
        if next_lsn <= log.next_lsn {
            return Ok(());
        }
        let from = (log.next_lsn, log.next_seq);
        let loss = self.loss(engine, from, (next_lsn, next_seq), offset);
        self.state.note_loss(&loss);
        self.losses.push(loss);
        (self.state.next_lsn, self.state.next_seq) = (next_lsn, next_seq);
        // What is before the gap is synced with the State that tells of it, which then says that
        // nothing is to be expected in between.
        log.sync().map_err(|error| failed(log, error))?;
        (log.next_lsn, log.next_seq) = (next_lsn, next_seq);
        log.durable_lsn = next_lsn - 1;
        self.write_state(engine, log)
    }

    fn loss(&self, engine: &Engine, from: (u64, u64), until: (u64, u64), offset: u64) -> Loss {
        Loss {
            reason: LossReason::Unsynced,
            seqs: SeqRange::new(from.1, until.1),
            lsns: (from.0, until.0),
            segment: self.failed,
            offset_bytes: self.at,
            len_bytes: offset.saturating_sub(self.at),
            noticed_us: engine.env.clock.wall_us(),
        }
    }

    /// Writes the State down, synced, at the end or at the next segment's head.
    fn write_state(&mut self, engine: &Engine, log: &mut Log) -> Result<()> {
        let mut body = Body::default();
        body.push(&Record::State(Box::new(self.state.clone())), None);
        if !log.fits(2 * body.block_bytes()) {
            return self.go_on(engine, log);
        }
        log.write_state(&engine.env, self.state.clone()).map_err(|error| failed(log, error))
    }

    fn go_on(&mut self, engine: &Engine, log: &mut Log) -> Result<()> {
        let next = engine.next_segment(log)?;
        log.write_seal(&engine.env, &next).map_err(|error| failed(log, error))?;
        engine.begin_in(log, next, &mut self.state)
    }
}

fn failed(log: &Log, error: std::io::Error) -> Error {
    Error::io(format!("append again in segment {}", log.active.name), error)
}
