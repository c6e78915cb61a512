//! The world as the log sees it: a file system, a clock, randomness. All else is computation.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fs::{Fs, OsFs};

/// Time, for people and for waiting; never for order.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment of this process; it never goes back.
    fn monotonic(&self) -> Duration;
    /// Microseconds since 1970 by the wall clock, which may jump either way.
    fn wall_us(&self) -> i64;
}

/// Random bytes, for salts and identifiers.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `buf`.
    fn fill(&self, buf: &mut [u8]);
}

/// What a channel is given of the world.
#[derive(Debug, Clone)]
pub struct Env {
    /// Its file system.
    pub fs: Arc<dyn Fs>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its randomness.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The real one.
    pub fn os() -> Env {
        Env {
            fs: Arc::new(OsFs::default()),
            clock: Arc::new(OsClock { start: Instant::now() }),
            random: Arc::new(OsRandom),
        }
    }

    /// The real one, with a file system that writes past the system's cache.
    pub(crate) fn os_direct() -> Env {
        Env { fs: Arc::new(OsFs::direct()), ..Env::os() }
    }

    pub(crate) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[derive(Debug)]
struct OsClock {
    start: Instant,
}

impl Clock for OsClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

#[derive(Debug)]
struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buf: &mut [u8]) {
        let mut done = 0;
        while done < buf.len() {
            match rustix::rand::getrandom(&mut buf[done..], rustix::rand::GetRandomFlags::empty()) {
                Ok(got) => done += got,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("the system gives no random bytes: {error}"),
            }
        }
    }
}
