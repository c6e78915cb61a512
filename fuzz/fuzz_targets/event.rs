#![no_main]

#[path = "../bodies/event.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::event(input));
