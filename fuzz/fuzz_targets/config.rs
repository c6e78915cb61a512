//! Any text: reading a configuration ends without a panic, and says what is wrong or gives one.

#![no_main]

use std::path::Path;

use forebay::config::{Config, parse_duration, parse_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = |name: &str| name.starts_with('A').then(|| name.to_lowercase());
    if let Err(problems) = Config::parse(Path::new("fuzz.toml"), text, &environment) {
        assert!(problems.iter().next().is_some(), "refused without a reason");
    }
    // Both only have to end.
    let _ = (parse_size(text), parse_duration(text));
});
