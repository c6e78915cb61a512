//! Any bytes: decoding an event ends without a panic, and what it accepts has one encoding.

#![no_main]

use bytes::Bytes;
use forebay::event::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|encoded: &[u8]| {
    if let Ok(event) = Event::decode(Bytes::copy_from_slice(encoded)) {
        let mut again = Vec::new();
        event.encode_into(&mut again);
        assert_eq!(again, encoded);
        assert_eq!(again.len(), event.encoded_len());
    }
});
