#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_proof::fuzzing::script(input));
