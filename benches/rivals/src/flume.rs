//! Flume's own file channel, in a Java process of its own: `benches/flume` has the class that this
//! starts. The JVM's start and its warming up lie before the clock.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::work::{Figure, Load};

pub const NAME: &str = "flume";
/// What Flume waits for before it acknowledges.
pub const SYNCS: &str = "fsync of the log file (FileChannel.force), by each transaction";
/// A JVM compiles what is used often; this long it takes at the least.
const WARM_LEAST: Duration = Duration::from_secs(3);

/// Where the class is, and how it is started.
#[derive(Debug, Clone)]
pub struct Flume {
    /// The `target` directory of `benches/flume`.
    pub target: PathBuf,
    /// The most heap, in Java's own words.
    pub heap: String,
}

impl Flume {
    /// Why it cannot take part, if it cannot.
    pub fn missing(&self) -> Option<String> {
        if Command::new("java").arg("-version").stderr(Stdio::null()).status().is_err() {
            return Some("skipped: there is no java".to_owned());
        }
        let is_built = self.target.join("classes/forebay/Rival.class").exists()
            && self.target.join("lib").exists();
        (!is_built).then(|| {
            let target = self.target.display();
            format!("skipped: not in {target}; mvn -q -f benches/flume/pom.xml package builds it")
        })
    }

    /// The command with what every mode needs.
    pub fn command(&self, mode: &str, dir: &Path) -> Command {
        let mut classes = OsString::from(self.target.join("classes"));
        classes.push(":");
        classes.push(self.target.join("lib/*"));
        let mut command = Command::new("java");
        command.arg(format!("-Xmx{}", self.heap)).arg("-cp").arg(classes);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg("forebay.Rival");
        command.arg("--mode").arg(mode).arg("--dir").arg(dir);
        command
    }

    /// The command that does a work.
    pub fn work(&self, dir: &Path, load: &Load) -> Command {
        let mut command = self.command(load.work.name(), dir);
        let warm =
            if load.marked_commits.is_some() { load.warm } else { load.warm.max(WARM_LEAST) };
        command
            .args(["--producers", &load.producers.to_string()])
            .args(["--batch", &load.batch.to_string()])
            .args(["--millis", &load.seconds.as_millis().to_string()])
            .args(["--warm-millis", &warm.as_millis().to_string()])
            .args(["--backlog", &load.backlog.to_string()]);
        if let Some(commits) = load.marked_commits {
            command.args(["--marked-commits", &commits.to_string()]);
        }
        command
    }

    /// Measures a work in a fresh directory.
    pub fn measure(&self, dir: &Path, load: &Load) -> Result<Figure> {
        answer(&mut self.work(dir, load))
    }
}

/// Runs a child that ends by itself, and reads the one line of JSON that it prints last.
pub fn answer<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let output =
        command.stderr(Stdio::inherit()).output().context("the child cannot be started")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the child failed ({}): {}", output.status, stdout.trim());
    }
    let line = stdout.lines().rfind(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("the child gave no answer, but {stdout:?}"))?;
    serde_json::from_str(line).with_context(|| format!("the child's answer {line:?}"))
}

/// Starts a child that fills a store, and waits until it says that it has.
pub fn filled(command: &mut Command) -> Result<Child> {
    use std::io::{BufRead, BufReader};
    let mut child =
        command.stdout(Stdio::piped()).spawn().context("the child cannot be started")?;
    let stdout = child.stdout.take().context("the child has no output")?;
    for line in BufReader::new(stdout).lines() {
        if line? == crate::open::FILLED {
            return Ok(child);
        }
    }
    let status = child.wait()?;
    bail!("the child that fills ended before it was done ({status})")
}
