//! The limits of the tables that a State holds: producers, positions, the states of cursors. A
//! State has to fit into every segment, so what would pass a limit is refused: early, when a
//! transaction is told of it, and for good by the leader, in the order of the log, as others may
//! have come in between.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::options::Geometry;
use crate::record::{Ack, Put, Record};
use crate::state::State;

/// The bytes beside the name of a producer.
const PRODUCER_BYTES: usize = 10;
/// The bytes beside the key and the value of a position.
const POSITION_BYTES: usize = 6;

/// The tables of a State, and what the commits that were admitted since then change in them.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    state: &'a State,
    geometry: &'a Geometry,
    /// Producers that the State does not know.
    producers: HashSet<String>,
    /// What each changed position takes.
    positions: HashMap<String, usize>,
    /// What all positions take; it is counted when the first one grows.
    positions_bytes: Option<usize>,
    /// What each changed state of a cursor takes.
    states: HashMap<u32, usize>,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(state: &'a State, geometry: &'a Geometry) -> Tables<'a> {
        Tables {
            state,
            geometry,
            producers: HashSet::new(),
            positions: HashMap::new(),
            positions_bytes: None,
            states: HashMap::new(),
        }
    }

    /// Takes in what a put changes, or refuses all of it.
    pub(crate) fn admit_put(&mut self, put: &Put) -> Result<()> {
        let newcomer = put.producer.as_ref().map(|(name, _)| name).filter(|&name| {
            !self.state.producers.contains_key(name) && !self.producers.contains(name)
        });
        if let Some(name) = newcomer {
            self.check_producer(name)?;
        }
        self.admit_positions(&put.positions)?;
        self.producers.extend(newcomer.cloned());
        Ok(())
    }

    fn check_producer(&self, name: &str) -> Result<()> {
        let known = self.state.producers.keys().chain(&self.producers);
        let bytes: usize = known.map(|name| name.len() + PRODUCER_BYTES).sum();
        let count = self.state.producers.len() + self.producers.len();
        let fits = count < self.geometry.producers_max
            && bytes + name.len() + PRODUCER_BYTES <= self.geometry.table_bytes_max;
        if fits {
            return Ok(());
        }
        let text = format!(
            "the channel knows {count} producers and has no room for {name:?}; use the name of \
             one that is gone"
        );
        Err(Error::new(ErrorKind::LimitReached, text))
    }

    fn admit_positions(&mut self, changes: &[(String, Bytes)]) -> Result<()> {
        let before: usize = changes.iter().map(|(key, _)| self.position_bytes(key)).sum();
        let after: usize = changes.iter().map(|(key, value)| position_bytes(key, value)).sum();
        if after > before || self.positions_bytes.is_some() {
            let all = self.positions_bytes();
            // What makes it smaller always goes.
            let most = self.geometry.table_bytes_max;
            let needed = all - before + after;
            if after > before && needed > most {
                let text = format!(
                    "the positions of this channel would take {needed} bytes and may take {most}; \
                     remove those of sources that are gone by setting them to nothing"
                );
                return Err(Error::new(ErrorKind::LimitReached, text));
            }
            self.positions_bytes = Some(needed);
        }
        let changed = changes.iter().map(|(key, value)| (key.clone(), position_bytes(key, value)));
        self.positions.extend(changed);
        Ok(())
    }

    fn position_bytes(&self, key: &str) -> usize {
        let there = || self.state.positions.get(key).map_or(0, |value| position_bytes(key, value));
        self.positions.get(key).copied().unwrap_or_else(there)
    }

    /// What all positions take now.
    fn positions_bytes(&self) -> usize {
        self.positions_bytes.unwrap_or_else(|| {
            let unchanged =
                self.state.positions.iter().filter(|(key, _)| !self.positions.contains_key(*key));
            let unchanged = unchanged.map(|(key, value)| position_bytes(key, value));
            unchanged.chain(self.positions.values().copied()).sum()
        })
    }

    /// Takes in what any other record changes, or refuses it: an acknowledgement may carry the
    /// state of its cursor.
    pub(crate) fn admit(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Ack(Ack { cursor, state: Some(state), .. }) => self.admit_state(*cursor, state),
            _ => Ok(()),
        }
    }

    pub(crate) fn admit_state(&mut self, cursor: u32, state: &[u8]) -> Result<()> {
        let bytes = |(id, cursor): (&u32, &crate::state::CursorState)| {
            let there = || cursor.state.as_ref().map_or(0, Bytes::len);
            self.states.get(id).copied().unwrap_or_else(there)
        };
        // A cursor that was removed keeps no state.
        let Some(own) = self.state.cursors.get_key_value(&cursor) else { return Ok(()) };
        let before = bytes(own);
        if state.len() > before {
            let all: usize = self.state.cursors.iter().map(bytes).sum();
            let (needed, most) = (all - before + state.len(), self.geometry.table_bytes_max);
            if needed > most {
                let text = format!(
                    "the states of this channel's cursors would take {needed} bytes and may take \
                     {most}"
                );
                return Err(Error::new(ErrorKind::LimitReached, text));
            }
        }
        self.states.insert(cursor, state.len());
        Ok(())
    }
}

/// What a position takes; set to nothing, it is removed.
fn position_bytes(key: &str, value: &[u8]) -> usize {
    if value.is_empty() { 0 } else { key.len() + value.len() + POSITION_BYTES }
}
