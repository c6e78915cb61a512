//! How long to wait before trying again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Waits that grow by their first length up to a limit, each shortened by chance so that those
/// who failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { first, limit, next: first }
    }

    /// The next wait: at least half of its length, at most all of it.
    pub fn next_wait(&mut self) -> Duration {
        let length = self.next.min(self.limit);
        self.next = length.saturating_add(self.first);
        let half = length / 2;
        let half_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(chance().checked_rem(half_us.saturating_add(1)).unwrap_or(0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A number that differs from call to call; nothing depends on how well.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        for seconds in [1, 2, 3, 3] {
            let length = Duration::from_secs(seconds);
            let wait = backoff.next_wait();
            assert!(length / 2 <= wait && wait <= length, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).next_wait(), Duration::ZERO);
    }
}
