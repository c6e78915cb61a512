//! Opening for writing: lock, look, replay, begin a new generation; and making a new channel.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::buffers::Buffers;
use crate::checkpoint::{self, Checkpoints};
use crate::company::Company;
use crate::cursor::LiveCursor;
use crate::directory::Directory;
use crate::engine::{Care, Engine, News};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{RECORD_HEADER_LEN, SMALL_BLOCK_BYTES, STATE_OFFSET, Uuid, block_bytes};
use crate::fs::{Lock, Mode};
use crate::log::{Log, Written};
use crate::names;
use crate::options::{
    BYTES_MAX_DEFAULT, BYTES_MAX_LEAST, Geometry, OnCorruption, Options, SPARES_RESERVED,
};
use crate::quarantine;
use crate::queue::Queue;
use crate::ranges::RangeSet;
use crate::read_ahead::ReadAhead;
use crate::reclaim::{remove_checkpoints, remove_temporaries};
use crate::record::{CursorChange, Record};
use crate::replay::{Recovered, replay};
use crate::segment::{self, Segment};
use crate::segments::Segments;
use crate::signal::Bell;
use crate::state::{LiveSegment, State};
use crate::status::Status;
use crate::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, lock};
use crate::tail::Tail;
use crate::view::View;

/// Opens a channel, or makes one.
pub(crate) fn open(dir: &Path, options: Options, env: Env) -> Result<Engine> {
    options.check()?;
    env.fs.create_dir(dir).map_err(|error| Error::io(format!("make {}", dir.display()), error))?;
    let owner = own(&env, dir)?;
    let known = checkpoint::read_all(&env, dir);
    let directory = Directory::read(&env, dir, &known)?;
    // Whoever died between a rename and the sync behind it left that to us.
    env.fs.sync_dir(dir).map_err(|error| Error::io(format!("sync {}", dir.display()), error))?;
    let is_new = directory.segments.is_empty() && known.is_empty();
    let mut recovered =
        if is_new { make(&env, &options) } else { replay(&env, dir, &directory, &known, true)? };
    let odd = !recovered.losses.is_empty() || !directory.orphans.is_empty();
    if options.on_corruption == OnCorruption::Refuse && odd {
        return Err(refused(dir, &recovered, &directory));
    }
    remove_temporaries(&env, dir, &directory.temporaries)?;
    if recovered.state.next_cursor == 1 {
        // It was being made when the process ended: nothing has ever been in it.
        recovered.state.cursors = make(&env, &options).state.cursors;
        recovered.state.next_cursor = 1 + recovered.state.cursors.len() as u32;
    }
    settle_losses(&mut recovered);
    settle_options(&mut recovered.state, &options, &directory);
    let geometry = Geometry::new(recovered.state.bytes_max);
    check_state_fits(dir, &recovered.state, &geometry)?;
    let trouble = set_aside(&env, dir, &directory);
    mend_headers(&env, dir, recovered.state.uuid, &directory)?;
    let segments = table(&recovered, &directory);
    let engine = build(env, dir, options, geometry, recovered, segments, owner)?;
    // The log does without the checkpoints from here on.
    let old = checkpoint::too_long(&engine.env, dir, geometry.checkpoint_bytes);
    let removed = remove_checkpoints(&engine.env, &old);
    removed.into_iter().for_each(|text| engine.note_trouble(text));
    let checkpoints = Checkpoints::open(&engine.env, dir, geometry.checkpoint_bytes, &known);
    let mut care = lock(&engine.care);
    care.status = Status::open(&engine.env, dir);
    match checkpoints {
        Ok(checkpoints) => care.checkpoints = Some(checkpoints),
        Err(error) => engine.note_trouble(error.to_string()),
    }
    drop(care);
    trouble.into_iter().for_each(|text| engine.note_trouble(text));
    Ok(engine)
}

/// Takes the directory's lock.
fn own(env: &Env, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = names::path(dir, names::LOCK);
    match env.fs.lock(&path) {
        Ok(lock) => {
            // A word for whoever finds it locked; without it nothing is missing.
            let _ = lock.describe();
            Ok(lock)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let owner = owner_of(env, &path).unwrap_or_else(|| "another process".to_owned());
            Err(Error::new(
                ErrorKind::InUse,
                format!(
                    "{} is owned by {owner}; close it there, or look at it read-only",
                    dir.display()
                ),
            ))
        }
        Err(error) => Err(Error::io(format!("lock {}", path.display()), error)),
    }
}

/// What the owner wrote about itself.
fn owner_of(env: &Env, path: &Path) -> Option<String> {
    let file = env.fs.open(path, Mode::Read).ok()?;
    let mut text = [0; 64];
    let got = crate::fs::read_full_at(&*file, &mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..got]).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What replay would give for a channel that has never been.
fn make(env: &Env, options: &Options) -> Recovered {
    let mut uuid = [0; 16];
    env.random.fill(&mut uuid);
    // Version 4, variant 1: an ordinary random identifier for those who print it.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let mut state = State::new(uuid, 0);
    state.generation = 0;
    let main = [crate::MAIN_CURSOR.to_owned()];
    let named: &[String] = if options.cursors.is_empty() { &main } else { &options.cursors };
    for name in named {
        let id = state.next_cursor;
        let change = CursorChange::Made { id, name: name.clone(), start: 1 };
        state.apply(&Record::Cursor(change));
    }
    // Those are in the first State, not in records.
    state.next_lsn = 1;
    Recovered {
        state,
        tail: None,
        prev_crc: 0,
        durable_lsn: 0,
        events_unproven: 0,
        generation: 0,
        losses: Vec::new(),
        report: crate::replay::Report::default(),
    }
}

fn refused(dir: &Path, recovered: &Recovered, directory: &Directory) -> Error {
    let events: u64 = recovered.losses.iter().map(|loss| loss.seqs.len()).sum();
    let first = recovered.losses.first().map_or(String::new(), |first| {
        format!(", the first in segment {} at {}", first.segment, first.offset_bytes)
    });
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "{}: {} damaged ranges with {events} events{first}, and {} files that are no segments \
             of this channel; nothing was changed; open with OnCorruption::Serve to go on without \
             them",
            dir.display(),
            recovered.losses.len(),
            directory.orphans.len(),
        ),
    )
}

/// What replay found missing goes into the ledger, and no seq that may have been given out is
/// given out again.
fn settle_losses(recovered: &mut Recovered) {
    let state = &mut recovered.state;
    for loss in &recovered.losses {
        state.note_loss(loss);
    }
    if state.seq_reserved > state.next_seq {
        state.note_unused(state.seq_reserved);
    }
    state.seq_reserved = 0;
}

/// A lowered limit makes smaller segments; a State must still fit into one, twice.
fn check_state_fits(dir: &Path, state: &State, geometry: &Geometry) -> Result<()> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    let needed = 8 * bytes.len() as u64;
    if needed <= geometry.segment_bytes.max(2 * BYTES_MAX_LEAST / 8) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "bytes_max {} is too small for {}: its state ({} cursors, {} producers, {} positions) \
             has {} bytes and needs a limit of {} bytes at least; remove some, or raise it",
            geometry.bytes_max,
            dir.display(),
            state.cursors.len(),
            state.producers.len(),
            state.positions.len(),
            bytes.len(),
            8 * needed.next_power_of_two(),
        ),
    ))
}

/// What the options name counts from now on; what they leave out stays as it was.
fn settle_options(state: &mut State, options: &Options, directory: &Directory) {
    if let Some(bytes) = options.bytes_max {
        state.bytes_max = bytes;
    } else if state.bytes_max == 0 {
        state.bytes_max = limit_of_making(directory).unwrap_or(BYTES_MAX_DEFAULT);
    }
    if let Some(events) = options.events_max {
        state.events_max = events;
    }
}

/// The least limit that makes segments like those of a directory without a State: the channel was
/// being made for it, and the disk may have no room for a larger one.
fn limit_of_making(directory: &Directory) -> Option<u64> {
    let made = directory.segments.values().map(|segment| segment.len_bytes).max()?;
    let default = Geometry::new(BYTES_MAX_DEFAULT).segment_bytes;
    (made < default).then(|| (8 * made).max(BYTES_MAX_LEAST))
}

/// Moves segment files that belong to no log out of the way; what went wrong.
fn set_aside(env: &Env, dir: &Path, directory: &Directory) -> Option<String> {
    let mut trouble = None;
    for name in &directory.orphans {
        if let Err(error) = quarantine::move_aside(env, dir, name) {
            trouble = Some(format!("set {name} aside: {error}"));
        }
    }
    trouble
}

/// Segments whose own header was written over have one again before anything else changes.
fn mend_headers(env: &Env, dir: &Path, uuid: Uuid, directory: &Directory) -> Result<()> {
    for segment in directory.misheaded.iter().filter_map(|id| directory.segments.get(id)) {
        // As soon as that other one is gone, its header would count.
        segment::rewrite_header(env, dir, uuid, segment)?;
    }
    Ok(())
}

/// Sorts the segments: live ones are listed by the State, all others are free.
fn table(recovered: &Recovered, directory: &Directory) -> Segments {
    let listed: BTreeMap<u64, u64> =
        recovered.state.segments.iter().map(|live| (live.id, live.salt)).collect();
    let newest = listed.keys().next_back().copied().unwrap_or(0);
    let mut segments = Segments { taken: directory.names.clone(), ..Segments::default() };
    for (&id, segment) in &directory.segments {
        let segment = segment.clone();
        if listed.get(&id) == Some(&segment.salt) {
            // The log went on behind all but the newest.
            let written_bytes = if id < newest { segment.len_bytes } else { segment.written_bytes };
            segments.live.insert(id, Segment { written_bytes, ..segment });
        } else {
            // A spare too: what another process left in it, or failed to make durable of it, is
            // not relied on.
            let was_live = id <= newest;
            let written_bytes = if was_live { segment.len_bytes } else { segment.written_bytes };
            segments.free.push(Segment { written_bytes, ..segment });
        }
    }
    segments.next_id = directory.highest_id().max(newest) + 1;
    segments
}

fn build(
    env: Env,
    dir: &Path,
    options: Options,
    geometry: Geometry,
    recovered: Recovered,
    segments: Segments,
    owner: Box<dyn Lock>,
) -> Result<Engine> {
    let start = Beginning::find(&env, dir, &recovered, segments, &geometry)?;
    let Beginning { log_file, active, offset, segments, fresh } = start;
    let mut state = recovered.state;
    if fresh && let Some((id, end)) = recovered.tail {
        state.prev_end = (id, end, recovered.prev_crc);
    }
    let mut log = Log {
        uuid: state.uuid,
        class: options.sync,
        active,
        file: log_file,
        offset,
        generation: recovered.generation,
        generation_lsn: state.next_lsn,
        next_lsn: state.next_lsn,
        next_seq: state.next_seq,
        prev_crc: recovered.prev_crc,
        durable_lsn: state.next_lsn - 1,
        synced_seq: state.next_seq,
        synced: None,
        last_sync: env.clock.monotonic(),
        evidence_lsn: recovered.durable_lsn.min(state.next_lsn - 1),
        begun_lsn: state.segments.last().map_or(state.next_lsn, |last| last.first_lsn),
        unsynced: false,
        last_write: env.clock.monotonic(),
        written: Written::default(),
        company: Company::default(),
    };
    log.new_generation();
    let headers = segments.spares.iter().map(|spare| spare.known.0);
    let headers_lsn = AtomicU64::new(headers.max().unwrap_or(0));
    let tail = Tail::new(options.tail_bytes);
    let view = View::new(state);
    let reader_at = view.cursors.values().map(LiveCursor::fresh).max().unwrap_or(0);
    let engine = Engine {
        segments: Mutex::new(segments),
        segment_made: Condvar::new(),
        view: Mutex::new(view),
        queue: Mutex::new(Queue::default()),
        in_line: AtomicUsize::new(0),
        tail: Mutex::new(tail),
        put_buffers: Buffers::new(PUT_BUFFERS_KEPT, BUFFER_BYTES_MAX),
        read_buffers: Buffers::new(READ_BUFFERS_KEPT, BUFFER_BYTES_MAX),
        read_ahead: ReadAhead::default(),
        care: Mutex::new(Care::default()),
        news: News { headers_lsn, reader_at: AtomicU64::new(reader_at), ..News::default() },
        reported: Mutex::new(RangeSet::new()),
        making_cursor: Mutex::new(()),
        owner: Mutex::new(Some(owner)),
        log_bell: Bell::default(),
        care_bell: Bell::default(),
        log: Mutex::new(log),
        env,
        dir: dir.to_path_buf(),
        options,
        geometry,
    };
    engine.begin_generation(fresh)?;
    Ok(engine)
}

/// How many buffers of put transactions, and of reads, wait to be used again, and how large they are
/// at most: more than a group or a piece needs would be memory for nothing.
const PUT_BUFFERS_KEPT: usize = 4;
const READ_BUFFERS_KEPT: usize = 4;
const BUFFER_BYTES_MAX: usize = 2 << 20;

/// The bytes of both copies of a State.
fn states_bytes(state: &State) -> u64 {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    2 * block_bytes(RECORD_HEADER_LEN + bytes.len())
}

/// Where the new generation begins.
struct Beginning {
    log_file: std::sync::Arc<dyn crate::fs::File>,
    active: Segment,
    offset: u64,
    segments: Segments,
    /// The active segment holds nothing yet: it needs its State.
    fresh: bool,
}

impl Beginning {
    /// Behind the last block if there is room for one more, else in a fresh segment.
    fn find(
        env: &Env,
        dir: &Path,
        recovered: &Recovered,
        mut segments: Segments,
        geometry: &Geometry,
    ) -> Result<Beginning> {
        if let Some((id, offset)) = recovered.tail
            && let Some(active) = segments.live.get_mut(&id)
            && recovered.state.segments.last().is_some_and(|last| last.id == id)
            // Another limit has other segments: the old one goes when it is drained.
            && active.len_bytes == geometry.segment_bytes
            && offset + states_bytes(&recovered.state) + SMALL_BLOCK_BYTES <= active.len_bytes
        {
            let log_file = active.open(env, dir, Mode::ReadWrite)?;
            active.file = Some(log_file.clone());
            let active = active.clone();
            return Ok(Beginning { log_file, active, offset, segments, fresh: false });
        }
        let id = segments.new_id();
        let uuid = recovered.state.uuid;
        let known = (recovered.state.next_lsn - 1, recovered.state.next_seq);
        let fits = |free: &Segment| free.len_bytes == geometry.segment_bytes && !free.cut_short;
        let active = match segments.free.iter().rposition(fits) {
            Some(at) => {
                let mut old = segments.free.remove(at);
                segment::relabel(env, dir, uuid, id, known, &mut old).map_err(|error| {
                    Error::io(format!("make a spare of segment {}", old.name), error)
                })?
            }
            None => {
                let made = segment::create(env, dir, uuid, id, geometry.segment_bytes, known);
                made.inspect_err(|_| {
                    // What was begun has no use, whichever name it had come to: a name whose sync
                    // failed must not be found and relied on by the next open.
                    for name in [names::temporary(id), names::segment(id)] {
                        let _ = remove_temporaries(env, dir, &[name]);
                    }
                })?
            }
        };
        let log_file = active.open(env, dir, Mode::ReadWrite)?;
        let active = Segment { file: Some(log_file.clone()), ..active };
        Ok(Beginning { log_file, active, offset: STATE_OFFSET, segments, fresh: true })
    }
}

impl Engine {
    /// Ends what came before: the State of a new generation, synced, before anything is published.
    /// It tells what was lost, what changed, and that older blocks from here on are void.
    fn begin_generation(&self, fresh: bool) -> Result<()> {
        {
            let mut log = lock(&self.log);
            if fresh {
                self.begin_fresh(&mut log)?;
            } else {
                let mut state = lock(&self.view).state.clone();
                self.stamp(&log, &mut state);
                log.write_state(&self.env, state.clone()).map_err(|error| {
                    Error::io(format!("begin a generation in segment {}", log.active.name), error)
                })?;
                lock(&self.view).publish(&Record::State(Box::new(state)));
            }
            self.note_synced(&mut log);
            self.news.evidence_lsn.store(log.evidence_lsn, Ordering::Release);
        }
        lock(&self.segments).give_up_spares(&self.geometry);
        self.recycle_all();
        let is_new = lock(&self.view).state.generation == 1;
        self.keep_back_spares(is_new)
    }

    /// The first State of a segment that the log begins or goes on in.
    fn begin_fresh(&self, log: &mut Log) -> Result<()> {
        let (segment, file) = (log.active.clone(), log.file.clone());
        let mut state = lock(&self.view).state.clone();
        self.stamp(log, &mut state);
        let (first_seq, first_lsn) = (state.next_seq, state.next_lsn);
        state.segments.push(LiveSegment {
            id: segment.id,
            salt: segment.salt,
            first_seq,
            first_lsn,
        });
        let name = segment.name.clone();
        log.begin(&self.env, segment.clone(), file, state.clone())
            .map_err(|error| Error::io(format!("write the State of segment {name}"), error))?;
        lock(&self.segments).enter(segment);
        lock(&self.view).publish(&Record::State(Box::new(state)));
        Ok(())
    }

    /// Puts are admitted only while the spares that are kept back are there.
    fn keep_back_spares(&self, is_new: bool) -> Result<()> {
        loop {
            let (missing, resized) = {
                let segments = lock(&self.segments);
                let missing = segments.spares.len() < SPARES_RESERVED;
                // Those of a larger limit are above the new one already: acks need their room.
                let mut others = segments.live.values();
                (missing, others.any(|live| live.len_bytes != self.geometry.segment_bytes))
            };
            if !missing {
                return Ok(());
            }
            match self.make_spare(resized) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Full && is_new => {
                    let needed = (1 + SPARES_RESERVED as u64) * self.geometry.segment_bytes;
                    let text = format!(
                        "a channel with a limit of {} bytes needs {needed} bytes from the start: \
                         {error}; make room, or choose a lower limit",
                        self.geometry.bytes_max
                    );
                    return Err(Error::new(ErrorKind::Full, text));
                }
                // A full disk is a normal state: puts wait, everything else goes on.
                Err(error) if error.kind() == ErrorKind::Full => {
                    self.note_trouble(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
