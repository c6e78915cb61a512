//! Runs the body of a fuzz target over its corpus in the tree, as a plain test: in a process of its
//! own, which ends when it asks for more memory or time than any input is worth.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The address space of that process: a few times of what a small channel takes.
const MEMORY_KIB: u64 = 256 << 10;
/// The time for one input.
pub const INPUT_TIME: Duration = Duration::from_secs(5);
/// The time for a whole corpus.
const CORPUS_TIME: Duration = Duration::from_secs(120);
/// What a corpus in the tree may take.
const CORPUS_BYTES: u64 = 100 * 1024;
/// Set in the process that does the work.
const INSIDE: &str = "FOREBAY_GUARDED";

/// Gives each file of a target's corpus to its body; `test` is the name of the test that calls.
pub fn corpus(test: &str, target: &str, body: impl Fn(&[u8])) {
    let outcome = guarded(test, CORPUS_TIME, || {
        for (name, input) in inputs(target) {
            // The last one that is named is the one that failed.
            println!("{target}/{name}");
            let start = Instant::now();
            body(&input);
            let took = start.elapsed();
            assert!(took < INPUT_TIME, "{took:?}");
        }
    });
    if let Some(Err(text)) = outcome {
        panic!("{text}");
    }
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tops = here.ancestors().map(|top| top.join("fuzz/corpus").join(target));
    let dir = tops.find(|dir| dir.is_dir()).expect("the corpus is in the tree");
    let mut inputs = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("its entries too").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        inputs.push((name, fs::read(path).expect("a file")));
    }
    inputs.sort();
    let bytes: u64 = inputs.iter().map(|(_, input)| input.len() as u64).sum();
    assert!(!inputs.is_empty() && bytes <= CORPUS_BYTES, "{bytes} bytes: `cargo fuzz cmin`");
    inputs
}

/// Does the work in a process of its own; how it ended. Inside of that process it is done, and
/// there is nothing to say.
pub fn guarded(test: &str, time: Duration, work: impl FnOnce()) -> Option<Result<(), String>> {
    if env::var_os(INSIDE).is_some() {
        work();
        return None;
    }
    let log = tempfile::NamedTempFile::new().expect("a file for what it says");
    let share = || Stdio::from(log.reopen().expect("the same file"));
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", &MEMORY_KIB.to_string()])
        .arg(env::current_exe().expect("this test"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        // Each arena of the allocator reserves address space for itself.
        .envs([(INSIDE, "1"), ("MALLOC_ARENA_MAX", "1"), ("RUST_BACKTRACE", "0")])
        .stdout(share())
        .stderr(share())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + time;
    let ended = loop {
        match child.try_wait().expect("it is a child of ours") {
            Some(status) => break status.to_string(),
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            None => {
                child.kill().expect("it is still there");
                child.wait().expect("it is gone");
                break format!("no end after {time:?}");
            }
        }
    };
    let said = fs::read_to_string(log.path()).unwrap_or_default();
    let ran = said.contains("1 passed");
    Some(if ran { Ok(()) } else { Err(format!("{test}: {ended}\n{said}")) })
}
