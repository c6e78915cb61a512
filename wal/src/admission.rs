//! Admission: what of a group is not written, because it was before or because it must not be.

use std::collections::HashMap;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::group_commit::Group;
use crate::queue::{PutWork, out_of_sequence};
use crate::record::Record;
use crate::sync::lock;
use crate::tables::Tables;

impl Engine {
    /// A put that was committed before is acknowledged without being written; one that stands
    /// twice in the group is written once.
    pub(crate) fn answer_duplicates(&self, group: &mut Group) {
        if group.puts.iter().all(|work| work.put.producer.is_none()) {
            return;
        }
        let mut kept: Vec<PutWork> = Vec::with_capacity(group.puts.len());
        let mut here: HashMap<String, usize> = HashMap::new();
        for work in std::mem::take(&mut group.puts) {
            let Some((name, sequence)) = work.put.producer.clone() else {
                kept.push(work);
                continue;
            };
            let committed = lock(&self.view).state.producers.get(&name).copied();
            if committed.is_some_and(|last| sequence <= last) {
                let receipt = self.receipt(0, u64::from(work.put.count), true);
                lock(&self.view).duplicates += 1;
                work.slots.iter().for_each(|slot| slot.complete(Ok(receipt)));
                continue;
            }
            let last_here = here.get(&name).copied();
            let pending = last_here.and_then(|at| kept[at].put.producer.as_ref());
            match (last_here, pending.map(|(_, last)| *last)) {
                (Some(at), Some(last)) if sequence == last => kept[at].slots.extend(work.slots),
                (Some(_), Some(last)) if sequence < last => {
                    let text = format!(
                        "sequence {sequence} of producer {name:?} comes after its sequence \
                         {last}; sequences must rise"
                    );
                    let error = Error::new(ErrorKind::OutOfSequence, text);
                    work.slots.iter().for_each(|slot| slot.complete(Err(error.again())));
                }
                _ => {
                    here.insert(name, kept.len());
                    kept.push(work);
                }
            }
        }
        group.puts = kept;
    }

    /// Refuses what would make the State larger than it may be, before anything is written. The
    /// events of a take that is refused come again.
    pub(crate) fn refuse_beyond_limits(&self, group: &mut Group) {
        if !group.touches_tables() {
            return;
        }
        let (mut acks, mut puts) = (Vec::new(), Vec::new());
        {
            let view = lock(&self.view);
            let mut tables = Tables::new(&view.state, &self.geometry);
            for work in std::mem::take(&mut group.controls) {
                match tables.admit(&work.record) {
                    Ok(()) => group.controls.push(work),
                    Err(error) => acks.push((work, error)),
                }
            }
            let mut refused: HashMap<String, u64> = HashMap::new();
            for work in std::mem::take(&mut group.puts) {
                let producer = work.put.producer.as_ref();
                let behind = producer.and_then(|(name, sequence)| {
                    refused.get(name).map(|before| out_of_sequence(name, *sequence, *before))
                });
                match behind.map_or_else(|| tables.admit_put(&work.put), Err) {
                    Ok(()) => group.puts.push(work),
                    Err(error) => {
                        if let Some((name, sequence)) = producer {
                            refused.entry(name.clone()).or_insert(*sequence);
                        }
                        puts.push((work, error));
                    }
                }
            }
        }
        for (work, error) in acks {
            if let Record::Ack(ack) = &work.record {
                self.give_back_all(ack.cursor, &mut ack.ranges.iter().copied().collect());
            }
            work.slot.iter().for_each(|slot| slot.complete(Err(error.again())));
        }
        for (work, error) in puts {
            lock(&self.queue).refuse(work, &error);
        }
    }
}
