//! The fuzz targets of the agent over their corpora, as plain tests: the same bodies, the same bytes.

#[path = "../../fuzz/bodies/config.rs"]
mod config;
#[path = "../../fuzz/bodies/event.rs"]
mod event;
#[path = "../../fuzz/bodies/guarded.rs"]
mod guarded;

use guarded::corpus;

#[test]
fn events_of_any_bytes() {
    corpus("corpora::events_of_any_bytes", "event", event::event);
}

#[test]
fn configurations_of_any_text() {
    corpus("corpora::configurations_of_any_text", "config", config::config);
}
