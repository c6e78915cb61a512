//! How one place tells many tasks to stop, and how the system tells this process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The end that tells.
#[derive(Debug)]
pub struct Shutdown {
    sender: watch::Sender<bool>,
}

/// The end that is told. Clones are told as well.
#[derive(Debug, Clone)]
pub struct Stop {
    receiver: watch::Receiver<bool>,
}

impl Shutdown {
    /// A pair of ends.
    pub fn new() -> (Shutdown, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Shutdown { sender }, Stop { receiver })
    }

    /// Tells everyone, also those who ask later. Dropping the `Shutdown` does the same.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }
}

impl Stop {
    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        *self.receiver.borrow() || self.receiver.has_changed().is_err()
    }

    /// Waits until it is told to stop.
    pub async fn stopped(&mut self) {
        // An error means that the other end is gone, which says the same.
        let _ = self.receiver.wait_for(|stopped| *stopped).await;
    }
}

/// SIGTERM and SIGINT. While this exists they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> io::Result<Signals> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { terminate, interrupt })
    }

    /// Waits for the next signal and says which one it was.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// From the next SIGTERM or SIGINT on it is true, for commands without a runtime of their own.
pub fn flag_at_signals() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let flag = Arc::new(AtomicBool::new(false));
    let told = flag.clone();
    std::thread::spawn(move || {
        runtime.block_on(signals.next());
        told.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_is_told_also_when_the_teller_is_gone() {
        let (shutdown, mut stop) = Shutdown::new();
        assert!(!stop.is_stopped());
        shutdown.stop();
        stop.clone().stopped().await;
        assert!(stop.is_stopped());

        let (shutdown, mut late) = Shutdown::new();
        drop(shutdown);
        late.stopped().await;
        assert!(late.is_stopped());
        stop.stopped().await;
    }
}
