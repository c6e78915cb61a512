//! The fuzz targets of the log over their corpora, as plain tests: the same bodies, the same bytes.

use std::time::Duration;

use forebay_proof::fuzzing;

#[path = "../../../fuzz/bodies/guarded.rs"]
mod guarded;

use guarded::{INPUT_TIME, corpus, guarded};

#[test]
fn p7_blocks_of_any_bytes() {
    corpus("corpora::p7_blocks_of_any_bytes", "block", fuzzing::block);
}

#[test]
fn p7_states_of_any_bytes() {
    corpus("corpora::p7_states_of_any_bytes", "state", fuzzing::state);
}

#[test]
fn p7_checkpoints_of_any_bytes() {
    corpus("corpora::p7_checkpoints_of_any_bytes", "checkpoint", fuzzing::checkpoint);
}

#[test]
fn p6_p7_directories_of_changed_files() {
    corpus("corpora::p6_p7_directories_of_changed_files", "directory", fuzzing::directory);
}

#[test]
fn p1_to_p12_scripts_of_any_bytes() {
    corpus("corpora::p1_to_p12_scripts_of_any_bytes", "script", fuzzing::script);
}

#[test]
fn an_input_that_asks_for_too_much_memory_is_noticed() {
    let greedy = || assert!(vec![1u8; 1 << 30].iter().all(|&byte| byte == 1));
    let name = "corpora::an_input_that_asks_for_too_much_memory_is_noticed";
    let outcome = guarded(name, INPUT_TIME, greedy);
    assert!(outcome.is_none_or(|outcome| outcome.is_err()));
}

#[test]
fn an_input_without_an_end_is_noticed() {
    let endless = || std::thread::sleep(Duration::from_secs(600));
    let name = "corpora::an_input_without_an_end_is_noticed";
    let outcome = guarded(name, Duration::from_millis(300), endless);
    assert!(outcome.is_none_or(|outcome| outcome.is_err()));
}

/// What the targets hold the readers to: a block that a life has written is written again to the
/// byte.
#[test]
fn p11_what_the_log_has_written_is_read_and_written_again_to_the_byte() {
    let filled = forebay_proof::filled::filled(20);
    let mut seen = 0;
    for (path, found) in &filled.live {
        let bytes = filled.lab.fs.read_file(path);
        for block in found {
            let bytes = &bytes[block.offset as usize..block.end() as usize];
            let again = forebay_wal::doors::block(bytes).expect("a sound block");
            assert!(again.same && again.bytes == bytes, "{block:?}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} blocks");
}
