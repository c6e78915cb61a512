//! The agent under load, killed at random: what was answered is in the files, each line once.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{LONG, rolled, rolled_text};

/// The few rounds of every test run; `FOREBAY_KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 12;
const CLIENTS: usize = 3;

const CONFIG: &str = "channels.disk = { type = 'file', path = 'data' }\n\
    sources.lines = { type = 'netcat', port = 0, channel = 'disk', batch_size = 20 }\n\
    sinks.files = { type = 'file_roll', channel = 'disk', directory = 'out', roll_bytes = 20000 }\n";

fn start(home: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(home).args(["run", "-f", "agent.toml", "--log-format", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut address = String::new();
    while address.is_empty() {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).expect("it logs"), 0, "it ended");
        let entry: serde_json::Value = serde_json::from_str(&line).expect("each line is JSON");
        address = entry["fields"]["address"].as_str().unwrap_or_default().to_owned();
    }
    // Read on, or a full pipe would hold the agent.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address)
}

/// Sends numbered lines until the connection breaks; says how many were answered.
fn send(address: &str, name: &str) -> u64 {
    let Ok(mut stream) = TcpStream::connect(address) else { return 0 };
    stream.set_read_timeout(Some(LONG)).expect("it is a socket");
    let mut reader = stream.try_clone().expect("it is a socket");
    let name = name.to_owned();
    let sender = std::thread::spawn(move || {
        let mut number = 0;
        // A burst a write, so that lines are cut by kills as well as by reads.
        while stream
            .write_all(
                (number..number + 50)
                    .map(|n| format!("{name} {n}\n"))
                    .collect::<String>()
                    .as_bytes(),
            )
            .is_ok()
        {
            number += 50;
        }
    });
    let mut answered = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut chunk) {
        answered.extend_from_slice(&chunk[..length]);
    }
    // The reader's end may be a break that the writer has not seen.
    let _ = reader.shutdown(std::net::Shutdown::Both);
    sender.join().expect("it ends");
    let whole = answered.chunks_exact(3);
    assert!(whole.clone().all(|answer| answer == b"OK\n"), "only OK is answered");
    whole.count() as u64
}

#[test]
fn p1_p2_p4_what_was_answered_before_a_kill_is_in_the_files_once_and_in_order() {
    let home = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(home.path().join("agent.toml"), CONFIG).expect("it is written");
    let rounds = std::env::var("FOREBAY_KILL_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut answered = HashMap::new();
    for round in 0..rounds {
        let (mut agent, address) = start(home.path());
        let counts: Vec<(String, u64)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let name = format!("r{round}c{client}");
                    let address = &address;
                    scope.spawn(move || (name.clone(), send(address, &name)))
                })
                .collect();
            // From at once to well under way: the moment is what this test varies.
            std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 150)));
            agent.kill().expect("it runs");
            agent.wait().expect("it ends");
            clients.into_iter().map(|client| client.join().expect("it ends")).collect()
        });
        answered.extend(counts);
    }
    drain(home.path());
    let total: u64 = answered.values().sum();
    assert!(total > 0, "something was answered");
    check(&rolled_text(&home.path().join("out")), &answered);
}

/// Runs the agent until the files have stopped growing and it has stopped in order.
fn drain(home: &Path) {
    let (mut agent, address) = start(home);
    // The last line of all is behind everything else.
    let mut last = TcpStream::connect(&address).expect("it listens");
    last.write_all(b"last 0\n").expect("it reads");
    last.read_exact(&mut [0; 3]).expect("it answers");
    let deadline = Instant::now() + LONG;
    while !rolled(&home.join("out")).iter().any(|(_, text)| text.ends_with("last 0\n")) {
        assert!(Instant::now() < deadline, "the last line comes");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").arg(agent.id().to_string()).status();
    assert!(sent.expect("kill is there").success());
    assert_eq!(agent.wait().expect("it ends").code(), Some(0));
}

/// Each client's lines are there from 0 on without a gap, once, in order, and reach at least as
/// far as they were answered.
fn check(text: &str, answered: &HashMap<String, u64>) {
    let mut next: HashMap<&str, u64> = HashMap::new();
    for line in text.lines() {
        let (name, number) = line.split_once(' ').expect("only whole lines are there");
        let expected = next.entry(name).or_default();
        // A line that a kill cut short was delivered to nobody: its end was never sent.
        assert_eq!(number.parse(), Ok(*expected), "line {line:?}");
        *expected += 1;
    }
    for (name, count) in answered {
        let there = next.get(name.as_str()).copied().unwrap_or(0);
        assert!(there >= *count, "{name}: {count} lines were answered, {there} are there");
    }
}
