//! What a lone producer's commit costs, seen by the system: one write and one sync.

use std::process::Command;

use crate::command::{fine, home};

const LINES: usize = 300;

#[test]
fn a_lone_producers_commit_is_one_write_and_one_fdatasync() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let home = home();
    let trace = home.path().join("trace");
    let lines: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
    std::fs::write(home.path().join("lines"), lines).expect("written");
    let script = format!(
        "strace -f -y -o {} -e trace=write,pwrite64,pwritev,pwritev2,fsync,fdatasync \
         {} put data --batch 1 --ack < lines",
        trace.display(),
        env!("CARGO_BIN_EXE_forebay"),
    );
    let output = Command::new("sh").arg("-c").arg(script).current_dir(home.path()).output();
    let acks = fine(output.expect("it runs"));
    assert_eq!(acks.iter().filter(|&&byte| byte == b'\n').count(), LINES);

    let trace = std::fs::read_to_string(trace).expect("a trace");
    // From the acknowledgement of the first line to that of the last one.
    let calls: Vec<&str> = trace.lines().collect();
    let acked = |call: &&str| call.contains(" write(1<");
    let first = calls.iter().position(acked).expect("acknowledged");
    let last = calls.iter().rposition(acked).expect("acknowledged");
    let between = &calls[first..last];
    // Spares are written ahead meanwhile, by another thread and in other files: what a commit costs
    // is what the thread does that syncs most.
    let of_log: Vec<&&str> = between.iter().filter(|call| call.contains(".wal>")).collect();
    let syncs_by = |thread: &str| {
        let its = of_log.iter().filter(|call| thread_of(call) == thread);
        its.filter(|call| call.contains("fdatasync(")).count()
    };
    let busiest = of_log.iter().map(|call| thread_of(call)).max_by_key(|thread| syncs_by(thread));
    let busiest = busiest.expect("a commit syncs");
    let (commits_of_it, ahead): (Vec<&&str>, Vec<&&str>) =
        of_log.into_iter().partition(|call| thread_of(call) == busiest);
    let segment = file_of(commits_of_it[0]);
    let beside = ahead.iter().find(|call| file_of(call) == segment);
    assert!(beside.is_none(), "another thread in the segment commits go to: {beside:?}");
    let count = |what: &[&str]| {
        commits_of_it.iter().filter(|call| what.iter().any(|what| call.contains(what))).count()
    };
    let writes = count(&["pwrite64(", "pwritev(", "pwritev2("]);
    let syncs = count(&["fdatasync("]);
    // A watermark may come between, where the machine was slow enough for the log to be idle.
    let commits = LINES - 1;
    assert!((commits..commits + 5).contains(&writes), "{writes} writes for {commits} commits");
    assert!((commits..commits + 5).contains(&syncs), "{syncs} syncs for {commits} commits");
    assert_eq!(count(&["fsync("]), 0, "an fsync in the way of commits");
    // And nothing at all on the way out: what was acknowledged was safe before.
    let is_ahead = |call: &str| call.contains(".wal>") && thread_of(call) != busiest;
    let after = calls[last..].iter().filter(|call| call.contains("sync(") && !is_ahead(call));
    let after: Vec<&&str> = after.collect();
    assert!(after.is_empty(), "{after:?}");
}

/// The thread that made a call of the trace.
fn thread_of(call: &str) -> &str {
    call.split(' ').next().unwrap_or_default()
}

/// The file a call of the trace works on.
fn file_of(call: &str) -> &str {
    call.split(['<', '>']).nth(1).unwrap_or_default()
}
