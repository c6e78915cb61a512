//! The binary from outside: the agent's life, and its exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{LONG, rolled_text};

fn forebay(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(directory).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn home(config: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("agent.toml"), config).expect("it is written");
    directory
}

fn output(mut child: Child, input: &[u8]) -> Output {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).expect("it reads");
    }
    child.wait_with_output().expect("it ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const STDIN_TO_FILES: &str = "channels.c = { type = 'memory' }\n\
    sources.in = { type = 'stdin', channel = 'c' }\n\
    sinks.out = { type = 'file_roll', channel = 'c', directory = 'out' }\n";

#[test]
fn standard_input_goes_into_files_and_its_end_ends_the_agent() {
    let home = home(STDIN_TO_FILES);
    let mut input: String = (0..5000).map(|number| format!("line {number}\n")).collect();
    input += "rest without a newline";
    let mut command = forebay(home.path(), &["run", "-f", "agent.toml"]);
    let child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let output = output(child, input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty(), "nothing is specified to be printed");
    assert_eq!(rolled_text(&home.path().join("out")), input + "\n");
}

#[test]
fn a_line_of_standard_input_that_is_too_long_fails_the_agent_after_the_others() {
    let home = home(&STDIN_TO_FILES.replace("'stdin',", "'stdin', max_line_length = 4,"));
    let mut command = forebay(home.path(), &["run", "-f", "agent.toml"]);
    let child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let output = output(child, b"abc\nabcd\nlost\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 2 is longer than 4 bytes"), "{}", stderr(&output));
    assert_eq!(rolled_text(&home.path().join("out")), "abc\n");
}

/// A running agent with a netcat source on a free port.
struct Running {
    child: Child,
    address: String,
    log: BufReader<ChildStderr>,
}

fn run(home: &TempDir) -> Running {
    let mut command = forebay(home.path(), &["run", "-f", "agent.toml", "--log-format", "json"]);
    let mut child = command.spawn().expect("it starts");
    let log = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut running = Running { child, address: String::new(), log };
    while running.address.is_empty() {
        let mut line = String::new();
        running.log.read_line(&mut line).expect("it logs");
        let entry: serde_json::Value = serde_json::from_str(&line).expect("each line is JSON");
        running.address = entry["fields"]["address"].as_str().unwrap_or_default().to_owned();
    }
    running
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("it is a socket");
        stream
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Its exit code and the rest of its log.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("it logs");
        (self.child.wait().expect("it ends").code(), log)
    }
}

fn netcat_to(sink: &str, memory: &str) -> String {
    format!(
        "channels.c = {{ type = 'memory' {memory} }}\n\
         sources.in = {{ type = 'netcat', port = 0, channel = 'c' }}\n\
         sinks.out = {{ {sink}, channel = 'c' }}\n"
    )
}

fn exchange(stream: &mut TcpStream, lines: &str) {
    stream.write_all(lines.as_bytes()).expect("it reads");
    let mut answers = vec![0; 3 * lines.lines().count()];
    stream.read_exact(&mut answers).expect("it answers");
    assert_eq!(answers, "OK\n".repeat(lines.lines().count()).as_bytes());
}

#[test]
fn a_signal_stops_it_after_everything_answered_was_delivered() {
    for signal in ["-TERM", "-INT"] {
        let home = home(&netcat_to("type = 'file_roll', directory = 'out'", ""));
        let running = run(&home);
        let mut stream = running.connect();
        let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
        exchange(&mut stream, &lines);
        running.signal(signal);
        let (code, log) = running.ended();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(rolled_text(&home.path().join("out")), lines);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // The sink cannot deliver, so the agent would drain for its whole time limit.
    let home = home(&netcat_to("type = 'file_roll', directory = 'agent.toml'", ""));
    let running = run(&home);
    exchange(&mut running.connect(), "a\n");
    running.signal("-TERM");
    let mut log = String::new();
    let mut running = running;
    while !log.contains("source `in` has ended") {
        assert_ne!(running.log.read_line(&mut log).expect("it logs"), 0, "{log}");
    }
    running.signal("-TERM");
    let (code, log) = running.ended();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("second signal"), "{log}");
}

#[test]
fn validate_tells_every_problem_and_touches_nothing() {
    let home = home("[channels.c]\ntype = 'memroy'\n[sinks.out]\ntype = 'null'\nchannel = 'd'\n");
    let child = forebay(home.path(), &["validate", "-f", "agent.toml"]).spawn().expect("it starts");
    let wrong = output(child, b"");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stdout.is_empty());
    let text = stderr(&wrong);
    assert!(
        text.contains("agent.toml:2: channels.c.type: ") && text.contains("`memory`?"),
        "{text}"
    );
    assert!(text.contains("agent.toml:5: sinks.out.channel: "), "{text}");

    std::fs::write(home.path().join("agent.toml"), STDIN_TO_FILES).expect("it is written");
    let arguments = ["validate", "-f", "agent.toml", "-n", "a1"];
    let right = output(forebay(home.path(), &arguments).spawn().expect("it starts"), b"");
    assert_eq!(right.status.code(), Some(0), "{}", stderr(&right));
    assert!(right.stdout.is_empty() && right.stderr.is_empty());
    assert!(!home.path().join("out").exists());
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let home = home("");
    for (arguments, code) in [
        (&["frobnicate"][..], 2),
        (&["run"], 2),
        (&["run", "-f", "nowhere.toml"], 2),
        (&["run", "-f", "a.properties"], 2),
        (&["validate", "-f", "agent.toml", "--log", "=="], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ] {
        let child = forebay(home.path(), arguments).spawn().expect("it starts");
        let output = output(child, b"");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
