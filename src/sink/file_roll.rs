//! `file_roll`: bodies into files of a directory, one a line, each event exactly once.
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `directory` | | where the files are; it is made if need be |
//! | `roll_interval` | 30s | after this time the next event begins a new file; 0 never |
//! | `roll_bytes` | 0 | a file that this would be passed in is ended before; 0 never |
//! | `prefix` | | the start of each name |
//! | `extension` | | the end of each name, behind a dot |
//! | `batch_size` | 100 | the most events of one take |
//!
//! Files are named `{prefix}{series}-{number}.{extension}`: the series is the time in milliseconds
//! at which the sink first ran on its cursor, the number rises by one a file and over restarts.
//!
//! **Once over any crash.** A delivery is written and synced before its take commits, and the
//! commit carries the sink's state: the file, its length, its number. At start the file is cut to
//! that length and files of the same series with a higher number are removed; the events that
//! stood there were never acknowledged and come again. The series is committed before the first
//! file is made, so that even that file is known to be ours. Files of other names, series or
//! directories are never touched.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Kind, Sink, SinkState};
use crate::channel::{BoxFuture, Taken};
use crate::config::{Section, directory_claim};
use crate::failure::Failure;

mod files;

use files::Files;

pub(super) const KIND: Kind = Kind { name: "file_roll", keeps_state: true, configure };

const ROLL_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Options {
    directory: PathBuf,
    prefix: String,
    extension: String,
    roll_interval: Duration,
    roll_bytes: u64,
}

fn configure(section: &mut Section<'_>) -> Box<dyn Sink> {
    let directory = section.required_path("directory");
    if !directory.as_os_str().is_empty() {
        section.claim("directory", directory_claim(&directory));
    }
    let prefix = section.text("prefix").unwrap_or_default();
    let extension = section.text("extension").unwrap_or_default();
    for (key, text) in [("prefix", &prefix), ("extension", &extension)] {
        if text.contains(['/', '\0']) {
            section.problem(key, "is part of a file's name and cannot hold a `/`");
        }
    }
    let options = Options {
        directory,
        prefix,
        extension,
        roll_interval: section.duration("roll_interval").unwrap_or(ROLL_INTERVAL),
        roll_bytes: section.size("roll_bytes").unwrap_or(0),
    };
    Box::new(FileRoll { options, files: None })
}

/// What is committed with each take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Names the kind of sink, so that another's state is not taken for ours.
    sink: Tag,
    /// The time of the first start, which is part of every file's name.
    series: u64,
    /// The number of the current file; 0 before the first.
    number: u64,
    /// The current file's name; empty before the first.
    file: String,
    /// The length up to which the current file was acknowledged.
    length: u64,
    /// The names' ends as they were then: a changed configuration must still find what is beyond.
    prefix: String,
    extension: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Tag {
    #[serde(rename = "file_roll 1")]
    FileRoll1,
}

impl State {
    fn first(options: &Options) -> State {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        State {
            sink: Tag::FileRoll1,
            series: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            number: 0,
            file: String::new(),
            length: 0,
            prefix: options.prefix.clone(),
            extension: options.extension.clone(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<State, Failure> {
        serde_json::from_slice(bytes).map_err(|error| {
            let text = "the cursor's state is not that of a file_roll sink; give the sink a cursor \
                        of its own";
            Failure::new(text).because(error)
        })
    }

    fn encode(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self)
            .map_err(|error| Failure::new("the sink's state cannot be written").because(error))
    }
}

#[derive(Debug)]
struct FileRoll {
    options: Options,
    /// Not there before `open`, nor after a failure.
    files: Option<Files>,
}

impl Sink for FileRoll {
    fn open(&mut self, state: Option<Bytes>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        Box::pin(async move {
            // Ends the old file's life before the new one is cut.
            self.files = None;
            let fresh = state.is_none();
            let state = match state {
                Some(state) => State::decode(&state)?,
                None => State::first(&self.options),
            };
            let encoded = state.encode()?;
            let options = self.options.clone();
            let files = blocking(move || Files::recover(options, state)).await?;
            self.files = Some(files);
            Ok(fresh.then_some(encoded))
        })
    }

    fn deliver(&mut self, events: Vec<Taken>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        Box::pin(async move {
            let files = self.files.take().ok_or_else(|| Failure::new("the sink is not open"))?;
            let (files, state) = blocking(move || {
                let mut files = files;
                let state = files.append(&events)?.encode()?;
                Ok((files, state))
            })
            .await?;
            self.files = Some(files);
            Ok(Some(state))
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(Failure::new("the file's writer ended").because(error)))
}
