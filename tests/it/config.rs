//! What a configuration's mistakes are answered with.

use std::path::Path;
use std::time::Duration;

use forebay::config::{ChannelSettings, Config};

fn environment(name: &str) -> Option<String> {
    (name == "PORT").then(|| "4545".to_owned())
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("agent.toml"), text, &environment)
        .map_err(|problems| problems.to_string())
}

/// The rest of an agent around the lines under test, so that nothing else is wrong with it.
const CHANNEL: &str = "channels.c.type = 'memory'\n";
const SINK: &str = "sinks.out = { type = 'null', channel = 'c' }\n";

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = parse(text).expect_err("something is wrong with it");
    let lines: Vec<&str> = problems.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{problems}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with("agent.toml") && line.contains(expected), "{line}\n{expected}");
    }
}

/// Lines that are wrong, beside a channel on line 1 and a sink on line 2.
#[track_caller]
fn check_beside(text: &str, expected: &[&str]) {
    check(&format!("{CHANNEL}{SINK}{text}"), expected);
}

#[test]
fn every_mistake_names_line_and_key_and_what_is_right() {
    let table: &[(&str, &str)] = &[
        (
            "sourcess.a.type = 'stdin'",
            ":3: sourcess: is not a table of a configuration; did you mean `sources`?",
        ),
        ("sources = 5", ":3: sources: a table is needed here, not a whole number"),
        ("sources.a = 5", ":3: sources.a: a table is needed here"),
        ("agent.shutdown_timeout = 30", ":3: agent.shutdown_timeout: a time needs its unit"),
        ("agent.shutdown = '3s'", ":3: agent.shutdown: is not a key of this table"),
        (
            "channels.d.type = 'fil'",
            ":3: channels.d.type: \"fil\" is unknown; did you mean `file`?",
        ),
        ("channels.d = {}", ":3: channels.d.type: is missing; known are `file`, `memory`"),
        ("channels.d.type = 'file'", ":3: channels.d.path: is missing"),
        ("channels.d = { type = 'file', path = '' }", ":3: channels.d.path: is empty"),
        (
            "channels.d = { type = 'file', path = 'd', bytes_max = '64 mib' }",
            "channels.d.bytes_max: \"64 mib\" is not a size",
        ),
        (
            "channels.d = { type = 'file', path = 'd', bytes_max = '1000KiB' }",
            "channels.d.bytes_max: must be at least 1024KiB",
        ),
        (
            "channels.d = { type = 'file', path = 'd', sync = 'never' }",
            "channels.d.sync: \"never\" is not a sync class",
        ),
        (
            "channels.d = { type = 'file', path = 'd', sync = 'interval:5' }",
            "channels.d.sync: \"5\" is not a time",
        ),
        (
            "channels.d = { type = 'memory', path = 'd' }",
            "channels.d.path: is not a key of this table",
        ),
        (
            "channels.d = { type = 'memory', events_max = 0 }",
            "events_max: a whole number from 1 is needed here",
        ),
        (
            "channels.d = { type = 'memory', cursors = [1] }",
            "channels.d.cursors: a list of texts is needed here; it holds a whole number",
        ),
        (
            "sources.a = { type = 'netcta', channel = 'c' }",
            "sources.a.type: \"netcta\" is unknown; did you mean `netcat`?",
        ),
        ("sources.a = { type = 'netcat', channel = 'c' }", "sources.a.port: is missing"),
        (
            "sources.a = { type = 'netcat', channel = 'c', port = 70000 }",
            "sources.a.port: a whole number from 0 to 65535 is needed here",
        ),
        (
            "sources.a = { type = 'netcat', channel = 'c', port = 1, max-line-length = 5 }",
            "sources.a.max-line-length: is not a key of this table; did you mean `max_line_length`?",
        ),
        (
            "sources.a = { type = 'netcat', channel = 'c', port = 1, ack_every_event = 1 }",
            "sources.a.ack_every_event: true or false is needed here",
        ),
        (
            "sources.a = { type = 'netcat', channel = 'c', port = 1, batch_size = 1.5 }",
            "sources.a.batch_size: a whole number from 1 to 1000000 is needed here",
        ),
        ("sources.a = { type = 'stdin' }", "sources.a.channels: is missing"),
        (
            "sources.a = { type = 'stdin', channels = ['c', 'cc'] }",
            "sources.a.channels: there is no channel `cc`; did you mean `c`?",
        ),
        (
            "sources.a = { type = 'stdin', channels = ['c', 'c'] }",
            "sources.a.channels: `c` is named twice",
        ),
        (
            "sources.a = { type = 'stdin', channels = ['c'], channel = 'c' }",
            "sources.a.channel: stands beside `channels`",
        ),
        (
            "sources.a = { type = 'stdin', channel = 'c', max_line_length = 0 }",
            "max_line_length: must be at least 1",
        ),
        ("sinks.b = { type = 'null' }", "sinks.b.channel: is missing"),
        ("sinks.b = { type = 'file_rol', channel = 'c' }", "did you mean `file_roll`?"),
        ("sinks.b = { type = 'file_roll', channel = 'c' }", "sinks.b.directory: is missing"),
        (
            "sinks.b = { type = 'file_roll', channel = 'c', directory = 'o', prefix = 'a/b' }",
            "sinks.b.prefix: is part of a file's name",
        ),
        (
            "sinks.b = { type = 'logger', channel = 'c', max_bytes_to_log = 'x' }",
            "\"x\" is not a size",
        ),
        (
            "sinks.b = { type = 'null', channel = 'c', backoff = true }",
            "a time is needed here, like \"30s\", not true or false",
        ),
        (
            "sinks.b = { type = '${env:NOPE}', channel = 'c' }",
            "sinks.b.type: the environment has no variable NOPE",
        ),
    ];
    for (text, expected) in table {
        if text.contains("NOPE") {
            // What stands in for the unknown text is no type either.
            check_beside(text, &[expected, "is unknown"]);
        } else {
            check_beside(text, &[expected]);
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_lines() {
    check(
        "[channels.c]\ntype = 'memory'\nevents_mx = 5\n\n\
         [sources.in]\ntype = 'netcat'\nport = -1\nchannels = ['d']\n\n\
         [sinks.out]\ntype = 'file_roll'\nchannel = 'c'\nroll_interval = 'soon'\n",
        &[
            ":3: channels.c.events_mx: is not a key of this table; did you mean `events_max`?",
            ":7: sources.in.port: ",
            ":8: sources.in.channels: there is no channel `d`; did you mean `c`?",
            ":10: sinks.out.directory: is missing",
            ":13: sinks.out.roll_interval: \"soon\" is not a time",
        ],
    );
}

#[test]
fn text_that_is_no_toml_names_its_line() {
    let problems = parse("[channels.c]\ntype = \n").expect_err("it is no TOML");
    assert!(problems.starts_with("agent.toml:2: "), "{problems}");
    let problems = parse("a = 1\na = 2\n").expect_err("a key stands there twice");
    assert!(problems.contains("agent.toml:2: "), "{problems}");
}

#[test]
fn an_agent_of_nothing_is_a_mistake() {
    check("", &["agent.toml: there is no source and no sink"]);
    check(CHANNEL, &["there is no source and no sink"]);
}

#[test]
fn what_only_one_may_have_is_refused_to_the_second() {
    let roll = |name: &str, cursor: &str, directory: &str| {
        format!(
            "sinks.{name} = {{ type = 'file_roll', channel = 'c', cursor = '{cursor}', \
             directory = '{directory}' }}\n"
        )
    };
    check(
        &format!("{CHANNEL}{}{}", roll("a", "x", "o"), roll("b", "y", "./p/../o/")),
        &[":3: sinks.b.directory: the directory "],
    );
    check(
        &format!("{CHANNEL}{}{}", roll("a", "x", "o"), roll("b", "x", "p")),
        &["sinks.b: the state of cursor `x` of channel `c` is used by `sinks.a` already"
            .trim_start_matches("sinks.b: ")],
    );
    check(
        &format!("channels.c = {{ type = 'file', path = 'o' }}\n{}", roll("a", "x", "o")),
        &["is used by `channels.c` already"],
    );
    let listen = |name: &str, port: u16| {
        format!("sources.{name} = {{ type = 'netcat', channel = 'c', port = {port} }}\n")
    };
    check_beside(
        &format!("{}{}", listen("a", 4000), listen("b", 4000)),
        &[":4: sources.b.port: TCP 127.0.0.1:4000 is used by `sources.a` already"],
    );
    parse(&format!("{CHANNEL}{}{}", listen("a", 0), listen("b", 0))).expect("free ports differ");
}

#[test]
fn a_cursor_that_the_channel_does_not_name_is_a_mistake() {
    check(
        "channels.c = { type = 'memory', cursors = ['audit'] }\n\
         sinks.out = { type = 'null', channel = 'c', cursor = 'audti' }\n",
        &[
            ":2: sinks.out.cursor: channel `c` does not name the cursor `audti`; did you mean `audit`?",
        ],
    );
}

#[test]
fn a_channel_that_names_no_cursors_gets_those_its_sinks_read() {
    let config = parse(&format!(
        "{CHANNEL}sinks.a = {{ type = 'null', channel = 'c', cursor = 'x' }}\n\
         sinks.b = {{ type = 'null', channel = 'c', cursor = 'x' }}\n"
    ))
    .expect("nothing is wrong with it");
    assert_eq!(config.channels[0].settings.cursors(), ["x"]);
}

#[test]
fn a_whole_file_is_read_as_it_is_meant() {
    let config = parse(
        "[agent]\nshutdown_timeout = '5s'\n\
         [channels.disk]\ntype = 'file'\npath = 'data'\nbytes_max = '64MiB'\nevents_max = 1_000\n\
         put_timeout = '100ms'\nsync = 'interval:100ms'\ncursors = ['main', 'audit']\n\
         [sources.in]\ntype = 'netcat'\nport = '${env:PORT}'\nchannel = 'disk'\n\
         [sinks.out]\ntype = 'file_roll'\nchannel = 'disk'\ncursor = 'audit'\n\
         directory = '${env:OUT:-out}'\nroll_interval = 0\nbatch_size = 7\n",
    )
    .expect("nothing is wrong with it");
    assert_eq!(config.shutdown_timeout, Duration::from_secs(5));
    let ChannelSettings::File(file) = &config.channels[0].settings else {
        panic!("it is a file channel");
    };
    assert_eq!((file.bytes_max, file.events_max), (Some(64 << 20), Some(1000)));
    assert_eq!(file.put_timeout, Some(Duration::from_millis(100)));
    assert_eq!(
        (file.sync.as_deref(), file.path.as_path()),
        (Some("interval:100ms"), Path::new("data"))
    );
    assert_eq!(file.cursors, ["main", "audit"]);
    assert_eq!(config.sources[0].channels, ["disk"]);
    let runner = &config.sinks[0].runner;
    assert_eq!((runner.cursor.as_str(), runner.batch_size), ("audit", 7));
}

#[test]
fn the_example_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.toml");
    let config = Config::load(&file).expect("nothing is wrong with it");
    assert_eq!((config.sources.len(), config.channels.len(), config.sinks.len()), (1, 1, 1));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = Config::load(Path::new("nowhere.toml")).expect_err("it is not there");
    assert!(problems.to_string().starts_with("nowhere.toml: cannot be read: "), "{problems}");
}
