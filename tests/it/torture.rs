//! `forebay torture` from outside. That its checker turns red when it must is shown beside it, in
//! `src/cli/torture/check/tests.rs`.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{fine, forebay, home, run};
use crate::support::LONG;

/// The few rounds of every test run; `FOREBAY_TORTURE_ROUNDS` asks for more.
const ROUNDS: u64 = 8;

#[test]
fn p1_p2_p3_p4_hold_through_some_kills_and_the_report_says_what_was_done() {
    let home = home();
    let rounds = std::env::var("FOREBAY_TORTURE_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let arguments =
        ["torture", "--dir", "t", "--seed", "5", "--json", "--rounds", &rounds.to_string()];
    let output = run(home.path(), &arguments, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object, nothing else");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(report["violations"], Value::Array(Vec::new()), "{text}");
    assert_eq!((&report["seed"], &report["rounds"]), (&5.into(), &rounds.into()));
    let count = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key} in {text}"));
    assert!(count("kills") > 0 && count("kills") <= rounds, "{text}");
    let by_aim = report["kills_by_aim"].as_object().expect("an object").values();
    assert_eq!(by_aim.map(|kills| kills.as_u64().expect("a count")).sum::<u64>(), count("kills"));
    let by_phase = report["kills_by_phase"].as_object().expect("an object").values();
    let phases: u64 = by_phase.map(|kills| kills.as_u64().expect("a count")).sum();
    assert!(phases >= count("kills"), "{text}");
    for key in ["puts", "events_put", "takes", "events_acked", "events_checked", "cursors_read"] {
        assert!(count(key) > 0, "{key} in {text}");
    }
    for key in [
        "channels",
        "puts_refused",
        "takes_rolled_back",
        "duplicates_checked",
        "puts_in_doubt",
        "takes_in_doubt",
        "violations_found",
        "elapsed_ms",
    ] {
        count(key);
    }
    assert!(count("puts_found") <= count("puts_in_doubt"), "{text}");
    assert!(count("takes_found") <= count("takes_in_doubt"), "{text}");
    assert_eq!((&report["interrupted"], &report["kept"]), (&false.into(), &Value::Null));
    let left = std::fs::read_dir(home.path().join("t")).expect("it is there").count();
    assert_eq!(left, 0, "what it made, it removed");
}

#[test]
fn a_directory_that_is_not_its_own_is_refused_and_stays_as_it_is() {
    let home = home();
    fine(run(home.path(), &["put", "data"], b"1\n2\n"));
    let refused = run(home.path(), &["torture", "--dir", "data", "--rounds", "1"], b"");
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("data is not empty"), "{told}");
    assert_eq!(fine(run(home.path(), &["take", "data"], b"")), b"1\n2\n");
    for wrong in [&["--rounds", "0"][..], &["--seed", "x"], &["--rounds"]] {
        let arguments = [&["torture"][..], wrong].concat();
        assert_eq!(run(home.path(), &arguments, b"").status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_signal_ends_it_with_a_summary_and_leaves_no_child() {
    let home = home();
    let mut torture = forebay(home.path(), &["torture", "--dir", "t", "--rounds", "1000000"]);
    let pid = torture.id().to_string();
    let mut output = BufReader::new(torture.stdout.take().expect("it is piped")).lines();
    let first = output.next().expect("it tells its seed").expect("it is text");
    assert!(first.starts_with("seed "), "{first}");
    until("it has a child", || !children(&pid).is_empty());
    let sent = Command::new("kill").arg(&pid).status().expect("kill is there");
    assert!(sent.success());
    let rest: Vec<String> = output.map(|line| line.expect("it is text")).collect();
    assert_eq!(torture.wait().expect("it ends").code(), Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("violations   0")), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("ended early")), "{rest:?}");
    assert_eq!(std::fs::read_dir(home.path().join("t")).expect("it is there").count(), 0);
}

#[test]
fn a_child_does_not_outlive_a_parent_that_is_killed() {
    let home = home();
    let mut torture = forebay(home.path(), &["torture", "--dir", "t", "--rounds", "1000000"]);
    let pid = torture.id().to_string();
    let mut orphans = Vec::new();
    until("it has a child", || {
        orphans = children(&pid);
        !orphans.is_empty()
    });
    torture.kill().expect("it runs");
    torture.wait().expect("it ends");
    until("its child ends", || orphans.iter().all(|child| !is_torture_child(child)));
    // What it left is its own, so that the next one takes it over.
    fine(run(home.path(), &["torture", "--dir", "t", "--rounds", "1", "--seed", "5"], b""));
}

/// The processes that a process has started.
fn children(pid: &str) -> Vec<String> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(listed.split_ascii_whitespace().map(str::to_owned));
    }
    children.retain(|child| is_torture_child(child));
    children
}

fn is_torture_child(pid: &str) -> bool {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.contains("torture-child")
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
