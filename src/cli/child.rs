//! What processes that a command starts of its own program have in common.

use std::io::Read;

/// The parent holds the other end of standard input, and never writes. When it is gone, however
/// that came about, nobody is left to read what would be said.
pub(super) fn end_with_the_parent() {
    std::thread::spawn(|| {
        // Whatever comes, an end or an error, is the end.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(2);
    });
}
