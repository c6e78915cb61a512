//! Opens that fail at their sync, one after the other, and what is put after them.

use forebay_proof::script::{Class, Op, Script};
use forebay_wal::fs::sim::{Fault, Survive};

/// Each failed open leaves two States in the cache alone, and the next one goes on behind them.
/// What is acknowledged there, once a sync succeeds, stands behind a hole on the medium that is
/// longer than the first look into a segment goes.
#[test]
fn p1_p10_what_is_put_after_many_failed_opens_survives_a_power_cut() {
    let put = Op::Put { events: 1, bytes: 0, position: None, producer: None };
    for failed in 1..12 {
        let mut ops = vec![put, Op::FailFrom { ops: 0, fault: Fault::SyncFails }, put];
        ops.extend(vec![Op::Reopen; failed]);
        ops.extend([Op::Heal, put, Op::Crash { survive: Survive::Nothing }]);
        Script { seed: 202, class: Class::Commit, ops }.check();
    }
}
