//! The files of one series: found again, cut, appended to, rolled.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use tracing::{info, warn};

use super::{Options, State};
use crate::channel::Taken;
use crate::failure::Failure;

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Files {
    options: Options,
    state: State,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    opened: Instant,
}

impl Files {
    /// Brings the directory to what the state says, whatever stands beyond it.
    pub(super) fn recover(options: Options, state: State) -> Result<Files, Failure> {
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(|error| failed("make", directory, error))?;
        recover_remove_newer(directory, &state)?;
        let current = recover_cut(directory, &state)?;
        let mut files = Files { options, state, current };
        // What follows is named as the configuration says now; the old file keeps its name.
        files.state.prefix.clone_from(&files.options.prefix);
        files.state.extension.clone_from(&files.options.extension);
        Ok(files)
    }

    /// Appends the events' bodies, each with a newline, and syncs them. The answer is the state
    /// that stands for exactly these bytes.
    pub(super) fn append(&mut self, events: &[Taken]) -> Result<&State, Failure> {
        if self.current.as_ref().is_some_and(|current| self.is_due(current)) {
            self.current = None;
        }
        let mut gathered = Vec::new();
        for taken in events {
            let body = &taken.event.body;
            let length = self.state.length + gathered.len() as u64;
            if self.current.is_some() && self.is_over(length, body.len()) {
                self.write(&mut gathered)?;
                self.sync()?;
                self.current = None;
            }
            if self.current.is_none() {
                self.begin_file()?;
            }
            gathered.extend_from_slice(body);
            gathered.push(b'\n');
            if gathered.len() >= WRITE_BYTES {
                self.write(&mut gathered)?;
            }
        }
        self.write(&mut gathered)?;
        self.sync()?;
        Ok(&self.state)
    }

    fn is_due(&self, current: &Current) -> bool {
        let interval = self.options.roll_interval;
        !interval.is_zero() && current.opened.elapsed() >= interval
    }

    fn is_over(&self, length: u64, body: usize) -> bool {
        let limit = self.options.roll_bytes;
        limit > 0 && length > 0 && length + body as u64 + 1 > limit
    }

    fn begin_file(&mut self) -> Result<(), Failure> {
        let number = self.state.number + 1;
        let name = file_name(&self.state, number);
        let path = self.options.directory.join(&name);
        // Never one that is there: it would not be ours.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| failed("make", &path, error))?;
        sync_directory(&self.options.directory)?;
        self.state.number = number;
        self.state.file = name;
        self.state.length = 0;
        self.current = Some(Current { file, opened: Instant::now() });
        Ok(())
    }

    fn write(&mut self, gathered: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let written = current.file.write_all(gathered);
        written.map_err(|error| {
            failed("write", &self.options.directory.join(&self.state.file), error)
        })?;
        self.state.length += gathered.len() as u64;
        gathered.clear();
        Ok(())
    }

    /// Syncs what was written. A file that was deleted under us keeps nothing of it: what it was
    /// given last comes again, into a new one.
    fn sync(&mut self) -> Result<(), Failure> {
        let Some(current) = &self.current else { return Ok(()) };
        let path = self.options.directory.join(&self.state.file);
        current.file.sync_data().map_err(|error| failed("sync", &path, error))?;
        let metadata = current.file.metadata().map_err(|error| failed("look at", &path, error))?;
        if metadata.nlink() == 0 {
            return Err(Failure::new(format!("{} was deleted", path.display())));
        }
        Ok(())
    }
}

fn file_name(state: &State, number: u64) -> String {
    let dot = if state.extension.is_empty() { "" } else { "." };
    format!("{}{}-{number}{dot}{}", state.prefix, state.series, state.extension)
}

/// The number of a file of this series; `None` for every other name.
fn file_number(state: &State, name: &str) -> Option<u64> {
    let rest = name.strip_prefix(&state.prefix)?;
    let rest = rest.strip_prefix(&state.series.to_string())?.strip_prefix('-')?;
    let digits = rest.split_once('.').map_or(rest, |(digits, _)| digits);
    let number = digits.parse().ok()?;
    // One number has one name: `+1` or `01` is somebody else's.
    (file_name(state, number) == name).then_some(number)
}

/// What was begun after the last commit was never acknowledged.
fn recover_remove_newer(directory: &Path, state: &State) -> Result<(), Failure> {
    let entries = fs::read_dir(directory).map_err(|error| failed("list", directory, error))?;
    let mut removed = false;
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", directory, error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| file_number(state, name));
        if number.is_some_and(|number| number > state.number) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            info!(path = %path.display(), "removed: its events were not acknowledged");
            removed = true;
        }
    }
    if removed { sync_directory(directory) } else { Ok(()) }
}

/// Opens the file that the state names and cuts it to the acknowledged length.
fn recover_cut(directory: &Path, state: &State) -> Result<Option<Current>, Failure> {
    if state.file.is_empty() {
        return Ok(None);
    }
    let path = directory.join(&state.file);
    let mut file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        // Moved away, as people do with what is delivered; the next file follows.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path, error)),
    };
    let cut = || -> io::Result<Option<File>> {
        let length = file.metadata()?.len();
        if length < state.length {
            return Ok(None);
        }
        if length > state.length {
            file.set_len(state.length)?;
            file.sync_data()?;
            let path = path.display();
            info!(%path, from = length, to = state.length, "cut: the rest was not acknowledged");
        }
        file.seek(SeekFrom::Start(state.length))?;
        Ok(Some(file))
    };
    let file = cut().map_err(|error| failed("cut", &path, error))?;
    if file.is_none() {
        let path = path.display();
        warn!(%path, acknowledged = state.length, "shorter than what was acknowledged; left alone");
    }
    Ok(file.map(|file| Current { file, opened: Instant::now() }))
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> Result<(), Failure> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(|error| failed("sync", directory, error))
}

fn failed(verb: &str, path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}", path.display())).because(error)
}
