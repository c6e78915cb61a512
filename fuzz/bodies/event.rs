/// Any bytes: decoding an event ends without a panic, and what it accepts has one encoding.
pub fn event(encoded: &[u8]) {
    if let Ok(event) = forebay::event::Event::decode(bytes::Bytes::copy_from_slice(encoded)) {
        let mut again = Vec::new();
        event.encode_into(&mut again);
        assert_eq!(again, encoded);
        assert_eq!(again.len(), event.encoded_len());
    }
}
