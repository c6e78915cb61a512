//! What several tests need.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay::agent::Agent;
use forebay::channel::{Channel, MAIN_CURSOR};
use forebay::config::Config;

/// How long a test waits for what must come, and how long for what must not.
pub const LONG: Duration = Duration::from_secs(30);
pub const SHORT: Duration = Duration::from_millis(50);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it comes in time")
}

pub async fn not_yet<T>(future: impl Future<Output = T>) {
    assert!(tokio::time::timeout(SHORT, future).await.is_err(), "it came, and must wait");
}

/// Asks again and again until the answer is there.
pub async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

pub fn parse(text: &str) -> Config {
    match Config::parse(Path::new("test.toml"), text, &|_| None) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

pub async fn start(text: &str) -> Agent {
    match Agent::start(parse(text)).await {
        Ok(agent) => agent,
        Err(failure) => panic!("{failure}"),
    }
}

pub fn channel(agent: &Agent, name: &str) -> Arc<dyn Channel> {
    agent.channel(name).expect("it is configured")
}

/// Takes and acknowledges the next events, waiting until so many have come.
pub async fn deliver(channel: &Arc<dyn Channel>, events: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < events {
        let mut take = channel.take_transaction(MAIN_CURSOR).expect("the channel is open");
        let taken = soon(take.take(events - bodies.len(), Duration::MAX)).await;
        for taken in taken.expect("the channel is open") {
            bodies.push(String::from_utf8_lossy(&taken.event.body).into_owned());
        }
        soon(take.commit()).await.expect("the take commits");
    }
    bodies
}

/// The files of a directory with what is in them, by their numbers.
pub fn rolled(directory: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<(u64, PathBuf, String)> = entries
        .map(|entry| {
            let path = entry.expect("the directory can be read").path();
            let bytes = std::fs::read(&path).expect("the file can be read");
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            let number = name.rsplit_once('-').map_or("", |(_, number)| number);
            let number = number.split('.').next().and_then(|number| number.parse().ok());
            (number.unwrap_or(0), path, String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, path, text)| (path, text)).collect()
}

/// All files of a directory one behind the other.
pub fn rolled_text(directory: &Path) -> String {
    rolled(directory).into_iter().map(|(_, text)| text).collect()
}
