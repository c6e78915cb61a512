//! What an agent is made of, read from TOML.
//!
//! `[channels.NAME]`, `[sources.NAME]` and `[sinks.NAME]` each have a `type`; the component of
//! that type reads its own keys from its [`Section`]. Everything that is wrong is reported at
//! once, with file, line and key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::channel::{MAIN_CURSOR, MemoryOptions};
use crate::sink::{self, RunnerOptions, Sink};
use crate::source::{self, Source};

mod channels;
mod document;
mod problem;
mod section;
mod units;

pub use channels::{ChannelSettings, FileSettings};
pub use problem::{Problem, Problems};
pub use section::Section;
pub use units::{parse_duration, parse_size};

use document::{Entry, Value};
use problem::suggestion;
use section::Notes;

const TABLES: [&str; 4] = ["agent", "channels", "sources", "sinks"];
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// An agent, as its file describes it.
#[derive(Debug)]
pub struct Config {
    /// How long a graceful stop may take.
    pub shutdown_timeout: Duration,
    /// Its channels.
    pub channels: Vec<ChannelConfig>,
    /// Its sources.
    pub sources: Vec<SourceConfig>,
    /// Its sinks.
    pub sinks: Vec<SinkConfig>,
}

/// A channel of an agent.
#[derive(Debug)]
pub struct ChannelConfig {
    /// Its name.
    pub name: String,
    /// Its type and keys.
    pub settings: ChannelSettings,
}

/// A source of an agent.
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// The channels that each of its events goes into.
    pub channels: Vec<String>,
    /// The source, not yet started.
    pub source: Box<dyn Source>,
}

/// A sink of an agent.
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Where it takes from, and how.
    pub runner: RunnerOptions,
    /// The sink, not yet opened.
    pub sink: Box<dyn Sink>,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SourceConfig")
            .field("name", &self.name)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SinkConfig")
            .field("name", &self.name)
            .field("runner", &self.runner)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a file; `${env:...}` comes from the environment of the process.
    pub fn load(file: &Path) -> Result<Config, Problems> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let mut problems = Problems::new(file);
            problems.add(0, "", format!("cannot be read: {error}"));
            problems
        })?;
        Config::parse(file, &text, &|name| std::env::var(name).ok())
    }

    /// Reads a text as if it stood in `file`.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Problems> {
        let mut problems = Problems::new(file);
        let document = document::parse(text, environment, &mut problems);
        let mut notes = Notes::new(problems);
        let config = read(document, &mut notes);
        if notes.problems.is_empty() {
            Ok(config)
        } else {
            notes.problems.sort();
            Err(notes.problems)
        }
    }
}

fn read(mut document: BTreeMap<String, Entry>, notes: &mut Notes) -> Config {
    let agent = take_table(&mut document, "agent", notes);
    let channels = take_components(&mut document, "channels", notes);
    let sources = take_components(&mut document, "sources", notes);
    let sinks = take_components(&mut document, "sinks", notes);
    for (key, entry) in &document {
        let text = format!("is not a table of a configuration; {}", suggestion(key, &TABLES));
        notes.problems.add(entry.line, key, text);
    }
    if sources.is_empty() && sinks.is_empty() && notes.problems.is_empty() {
        notes.problems.add(0, "", "there is no source and no sink, so nothing to run");
    }
    let mut config = Config {
        shutdown_timeout: read_agent(agent, notes),
        channels: channels.into_iter().map(|one| read_channel(one, notes)).collect(),
        sources: Vec::new(),
        sinks: Vec::new(),
    };
    for one in sources {
        config.sources.extend(read_source(one, &config.channels, notes));
    }
    for one in sinks {
        config.sinks.extend(read_sink(one, &config.channels, notes));
    }
    name_cursors(&mut config);
    config
}

/// One component's table before its type is known.
struct Component {
    path: String,
    name: String,
    line: usize,
    entries: BTreeMap<String, Entry>,
}

fn take_table(
    document: &mut BTreeMap<String, Entry>,
    key: &str,
    notes: &mut Notes,
) -> (usize, BTreeMap<String, Entry>) {
    let entry = document.remove(key);
    entry.and_then(|entry| into_table(entry, key, notes)).unwrap_or_default()
}

fn into_table(
    entry: Entry,
    path: &str,
    notes: &mut Notes,
) -> Option<(usize, BTreeMap<String, Entry>)> {
    match entry.value {
        Value::Table(entries) => Some((entry.line, entries)),
        other => {
            let text = format!("a table is needed here, not {}", other.kind());
            notes.problems.add(entry.line, path, text);
            None
        }
    }
}

fn take_components(
    document: &mut BTreeMap<String, Entry>,
    group: &str,
    notes: &mut Notes,
) -> Vec<Component> {
    let (_, entries) = take_table(document, group, notes);
    let components = entries.into_iter().filter_map(|(name, entry)| {
        let path = format!("{group}.{name}");
        let (line, entries) = into_table(entry, &path, notes)?;
        Some(Component { path, name, line, entries })
    });
    components.collect()
}

fn read_agent((line, entries): (usize, BTreeMap<String, Entry>), notes: &mut Notes) -> Duration {
    let mut section = Section::new("agent", line, entries, notes);
    let timeout = section.duration("shutdown_timeout").unwrap_or(SHUTDOWN_TIMEOUT);
    section.finish();
    timeout
}

fn read_channel(component: Component, notes: &mut Notes) -> ChannelConfig {
    let mut section = Section::new(component.path, component.line, component.entries, notes);
    let Some(kind) = read_type(&mut section, &channels::TYPES) else {
        // Of an unknown type no key can be judged; the channel stays, for those that name it.
        let settings = ChannelSettings::Memory(MemoryOptions::default());
        return ChannelConfig { name: component.name, settings };
    };
    let settings = ChannelSettings::read(kind, &mut section);
    section.finish();
    ChannelConfig { name: component.name, settings }
}

/// The component's type, if it is a known one.
fn read_type(section: &mut Section<'_>, types: &[&'static str]) -> Option<&'static str> {
    let Some(kind) = section.text("type") else {
        section.problem("type", format!("is missing; known are `{}`", types.join("`, `")));
        return None;
    };
    let found = types.iter().copied().find(|known| *known == kind);
    if found.is_none() {
        section.problem("type", format!("{kind:?} is unknown; {}", suggestion(&kind, types)));
    }
    found
}

fn read_source(
    component: Component,
    channels: &[ChannelConfig],
    notes: &mut Notes,
) -> Option<SourceConfig> {
    let mut section = Section::new(component.path, component.line, component.entries, notes);
    let types: Vec<&str> = source::KINDS.iter().map(|kind| kind.name).collect();
    let kind = read_type(&mut section, &types);
    let names = read_channel_names(&mut section, channels);
    let kind = source::KINDS.iter().find(|known| Some(known.name) == kind)?;
    let source = (kind.configure)(&mut section);
    section.finish();
    Some(SourceConfig { name: component.name, channels: names, source })
}

fn read_channel_names(section: &mut Section<'_>, channels: &[ChannelConfig]) -> Vec<String> {
    let one = section.text("channel");
    let several = section.texts("channels");
    let (key, names) = match (one, several) {
        (Some(_), Some(_)) => {
            section.problem("channel", "stands beside `channels`; keep one of the two");
            return Vec::new();
        }
        (Some(one), None) => ("channel", vec![one]),
        (None, Some(several)) => ("channels", several),
        (None, None) => ("channels", Vec::new()),
    };
    if names.is_empty() {
        section.problem(key, "is missing: name the channel that the events go into");
    }
    for (at, name) in names.iter().enumerate() {
        check_channel(section, key, name, channels);
        if names[..at].contains(name) {
            section.problem(key, format!("`{name}` is named twice"));
        }
    }
    names
}

fn check_channel(section: &mut Section<'_>, key: &str, name: &str, channels: &[ChannelConfig]) {
    let known: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
    if !known.contains(&name) {
        section.problem(key, format!("there is no channel `{name}`; {}", suggestion(name, &known)));
    }
}

fn read_sink(
    component: Component,
    channels: &[ChannelConfig],
    notes: &mut Notes,
) -> Option<SinkConfig> {
    let mut section = Section::new(component.path, component.line, component.entries, notes);
    let types: Vec<&str> = sink::KINDS.iter().map(|kind| kind.name).collect();
    let kind = read_type(&mut section, &types);
    let channel = section.required_text("channel");
    if !channel.is_empty() {
        check_channel(&mut section, "channel", &channel, channels);
    }
    let cursor = section.text("cursor").unwrap_or_else(|| MAIN_CURSOR.to_owned());
    check_cursor(&mut section, &channel, &cursor, channels);
    let kind = sink::KINDS.iter().find(|known| Some(known.name) == kind)?;
    let runner = RunnerOptions::read(&mut section, channel, cursor);
    if kind.keeps_state {
        let thing =
            format!("the state of cursor `{}` of channel `{}`", runner.cursor, runner.channel);
        section.claim("cursor", thing);
    }
    let sink = (kind.configure)(&mut section);
    section.finish();
    Some(SinkConfig { name: component.name, runner, sink })
}

fn check_cursor(
    section: &mut Section<'_>,
    channel: &str,
    cursor: &str,
    channels: &[ChannelConfig],
) {
    let named = channels.iter().find(|known| known.name == channel);
    let cursors = named.map_or(&[][..], |named| named.settings.cursors());
    if !cursors.is_empty() && !cursors.iter().any(|known| known == cursor) {
        let known: Vec<&str> = cursors.iter().map(String::as_str).collect();
        let text = format!(
            "channel `{channel}` does not name the cursor `{cursor}`; {}",
            suggestion(cursor, &known)
        );
        section.problem("cursor", text);
    }
}

/// A channel that names no cursors gets those its sinks read: each is there before the first
/// event, and one that nobody reads is not made and so never pins.
fn name_cursors(config: &mut Config) {
    for channel in &mut config.channels {
        let read: Vec<String> = config
            .sinks
            .iter()
            .filter(|sink| sink.runner.channel == channel.name)
            .map(|sink| sink.runner.cursor.clone())
            .collect();
        if channel.settings.cursors().is_empty() {
            let mut cursors: Vec<String> = Vec::new();
            for cursor in read {
                if !cursors.contains(&cursor) {
                    cursors.push(cursor);
                }
            }
            channel.settings.set_cursors(cursors);
        }
    }
}

/// The words for a directory that only one component may write to, however its path is written.
pub fn directory_claim(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    let plain = std::fs::canonicalize(&plain).unwrap_or(plain);
    format!("the directory {}", plain.display())
}
