//! `forebay put` and `forebay take` from outside.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub fn forebay(home: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(home).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

pub fn run(home: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = forebay(home, arguments);
    let mut stdin = child.stdin.take().expect("it is piped");
    let output = std::thread::scope(|scope| {
        // A command that ends early closes its input, which is no failure of the test.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output()
    });
    output.expect("it ends")
}

#[track_caller]
pub fn fine(output: Output) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    output.stdout
}

pub fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn any_lines_through_put_and_take_are_the_same_bytes() {
    let home = home();
    let mut text = Vec::new();
    for number in 0..20_000u32 {
        text.extend_from_slice(number.to_string().as_bytes());
        text.extend((0..number % 97).map(|byte| (byte as u8).wrapping_mul(89) | 0x10));
        text.push(b'\n');
    }
    text.extend_from_slice(b"\n\n\xff\xfe\xc3\r\n");
    text.extend(std::iter::repeat_n(b'x', 1024 * 1024));
    text.push(b'\n');
    assert!(fine(run(home.path(), &["put", "data"], &text)).is_empty());
    assert!(fine(run(home.path(), &["take", "data"], b"")) == text, "they differ");
    assert!(fine(run(home.path(), &["take", "data"], b"")).is_empty(), "all was acknowledged");
}

#[test]
fn acknowledgements_are_counts_that_rise_to_the_number_of_lines() {
    let home = home();
    let text: String = (0..1000).map(|number| format!("{number}\n")).collect();
    let acks = fine(run(home.path(), &["put", "data", "--ack", "--batch", "7"], text.as_bytes()));
    let acks = String::from_utf8(acks).expect("numbers are text");
    let counts: Vec<u64> = acks.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(counts.is_sorted_by(|one, next| one < next && next - one <= 7), "{counts:?}");
    assert_eq!(counts.last(), Some(&1000));
}

#[test]
fn a_line_is_acknowledged_while_the_input_stays_open() {
    let home = home();
    let mut child = forebay(home.path(), &["put", "data", "--ack"]);
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut acks = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for number in 1..=3 {
        stdin.write_all(b"a line\n").expect("it reads");
        let ack = acks.next().expect("it answers").expect("it is text");
        assert_eq!(ack, number.to_string());
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(fine(run(home.path(), &["take", "data"], b"")), b"a line\n".repeat(3));
}

#[test]
fn take_gives_no_more_than_asked_and_each_cursor_its_own() {
    let home = home();
    fine(run(home.path(), &["put", "data"], b"1\n2\n3\n4\n"));
    assert_eq!(fine(run(home.path(), &["take", "data", "--max", "3"], b"")), b"1\n2\n3\n");
    assert_eq!(fine(run(home.path(), &["take", "data", "--batch", "1"], b"")), b"4\n");
}

#[test]
fn a_reader_that_goes_away_ends_take_quietly_and_loses_nothing() {
    let home = home();
    let lines = 50_000;
    let text: String = (0..lines).map(|number| format!("{number:08}\n")).collect();
    fine(run(home.path(), &["put", "data"], text.as_bytes()));
    let mut child = forebay(home.path(), &["take", "data", "--batch", "10"]);
    let mut first = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    output.read_line(&mut first).expect("it prints");
    assert_eq!(first, "00000000\n");
    drop(output);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    let rest = String::from_utf8(fine(run(home.path(), &["take", "data"], b""))).expect("text");
    assert!(!rest.is_empty() && text.ends_with(&rest));
}

#[test]
fn following_ends_with_0_at_a_signal() {
    let home = home();
    fine(run(home.path(), &["put", "data"], b"1\n"));
    let mut child = forebay(home.path(), &["take", "data", "--follow"]);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    assert_eq!(output.next().expect("it prints").expect("it is text"), "1");
    let sent = Command::new("kill").arg(child.id().to_string()).status();
    assert!(sent.expect("kill is there").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(output.next().is_none());
    assert!(fine(run(home.path(), &["take", "data"], b"")).is_empty());
}

#[test]
fn what_cannot_be_done_ends_with_2_and_says_why() {
    let home = home();
    let missing = run(home.path(), &["take", "nowhere"], b"");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no channel at nowhere"));
    assert!(!home.path().join("nowhere").exists());

    std::fs::create_dir(home.path().join("empty")).expect("it can be made");
    std::fs::write(home.path().join("empty/notes.txt"), "not ours").expect("it is written");
    let none = run(home.path(), &["take", "empty"], b"");
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no channel at empty"));
    assert_eq!(std::fs::read_dir(home.path().join("empty")).expect("it is there").count(), 1);

    let long = [b"1\n2\n", &vec![b'x'; 17 * 1024 * 1024][..], b"\n4\n"].concat();
    let refused = run(home.path(), &["put", "data", "--ack"], &long);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 3 "));
    assert_eq!(fine(run(home.path(), &["take", "data"], b"")), b"1\n2\n");

    for wrong in [&["put"][..], &["put", "d", "--batch", "0"], &["put", "d", "--bytes-max", "x"]] {
        assert_eq!(run(home.path(), wrong, b"").status.code(), Some(2), "{wrong:?}");
    }
}
