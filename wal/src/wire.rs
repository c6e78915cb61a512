//! Little-endian fields, written to a vector and read back with every length checked.

use bytes::Bytes;

/// Appends fields.
pub(crate) trait Write {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    /// A length of 32 bits and the bytes.
    fn put_long(&mut self, bytes: &[u8]);
    /// A length of 16 bits and the text; the caller has checked that it fits.
    fn put_name(&mut self, name: &str);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_long(&mut self, bytes: &[u8]) {
        assert!(u32::try_from(bytes.len()).is_ok());
        self.put_u32(bytes.len() as u32);
        self.extend_from_slice(bytes);
    }

    fn put_name(&mut self, name: &str) {
        assert!(u16::try_from(name.len()).is_ok());
        self.put_u16(name.len() as u16);
        self.extend_from_slice(name.as_bytes());
    }
}

/// Reads fields off the front; `None` as soon as one is not there.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    bytes: Bytes,
}

impl Read {
    pub(crate) fn new(bytes: Bytes) -> Read {
        Read { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    /// The next `len` bytes, not copied.
    pub(crate) fn take(&mut self, len: usize) -> Option<Bytes> {
        (len <= self.bytes.len()).then(|| self.bytes.split_to(len))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes.get(..N)?);
        self.bytes = self.bytes.split_off(N);
        Some(out)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<Bytes> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(crate) fn name(&mut self) -> Option<String> {
        let len = usize::from(self.u16()?);
        String::from_utf8(self.take(len)?.to_vec()).ok()
    }

    /// A count of things that take at least `least_bytes` each, so that a wrong count cannot ask
    /// for more memory than there are bytes.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count.checked_mul(least_bytes)? <= self.bytes.len()).then_some(count)
    }
}
