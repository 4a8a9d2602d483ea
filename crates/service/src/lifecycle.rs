//! How a daemon ends: asked softly first, then hard, and never later than promised.
//!
//! ```text
//!            signal, stop(), a task's panic        second signal, or grace over
//!   running --------------------------> soft --------------------------------> hard
//!                                        | all tasks ended                      | all ended, or
//!                                        v                                      v LAST_CALL over
//!                                      Clean                            Forced / Abandoned
//! ```
//!
//! Running: tasks work. Soft: tasks take nothing new, finish what is in hand, and end their streams
//! (a server's graceful shutdown waits for ever on a stream that is left open). Hard: tasks drop
//! what is in hand.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sys;

/// After the hard stop, how long to wait before leaving tasks to the end of the process.
const LAST_CALL: Duration = Duration::from_secs(5);

/// More than the runtime needs to notice a signal that was caught.
const RELEASE: Duration = Duration::from_millis(5);

/// Told to a task: stop softly, stop hard.
#[derive(Clone, Debug)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// Resolves when nothing new should be begun.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Resolves when work in hand should be dropped.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    pub fn is_soft(&self) -> bool {
        self.soft.is_cancelled()
    }

    pub fn is_hard(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Asks the whole daemon to end, as a first signal would.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// For libraries that take a token.
    pub fn soft_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// For libraries that take a token.
    pub fn hard_token(&self) -> CancellationToken {
        self.hard.clone()
    }
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every task ended by itself after the soft stop.
    Clean,
    /// Some tasks ended only after the hard stop.
    Forced,
    /// This many tasks did not end at all.
    Abandoned { tasks: usize },
}

/// Owns the tasks of one daemon.
#[derive(Debug)]
pub struct Lifecycle {
    stop: Stop,
    tasks: TaskTracker,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        let soft = CancellationToken::new();
        Self {
            stop: Stop { soft, hard },
            tasks: TaskTracker::new(),
        }
    }

    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// For code that starts tasks of its own; a task's panic is noticed only through
    /// [`Lifecycle::spawn`].
    pub fn tracker(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Starts a task that the end of the daemon waits for. When it panics the daemon stops: half a
    /// daemon is worse than none, and the supervisor starts it again.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guard = PanicGuard {
            name,
            stop: self.stop.clone(),
        };
        self.tasks.spawn(async move {
            let _guard = guard;
            task.await
        })
    }

    /// Waits for a signal or a [`Stop::stop`], then ends every task: softly within `grace`, hard on
    /// a second signal or when `grace` is over.
    pub async fn run(self, mut signals: Signals, grace: Duration) -> Ending {
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping; again to stop at once"),
            () = self.stop.soft() => tracing::info!("stopping"),
        }
        self.stop.soft.cancel();
        self.tasks.close();

        let ended = tokio::select! {
            () = self.tasks.wait() => true,
            () = self.stop.hard() => false,
            () = tokio::time::sleep(grace) => {
                tracing::warn!(tasks = self.tasks.len(), ?grace, "tasks are still running");
                false
            }
            name = signals.next() => {
                tracing::warn!(signal = name, "stopping at once");
                false
            }
        };
        self.stop.hard.cancel();
        if ended {
            return Ending::Clean;
        }
        match tokio::time::timeout(LAST_CALL, self.tasks.wait()).await {
            Ok(()) => Ending::Forced,
            Err(_) => Ending::Abandoned {
                tasks: self.tasks.len(),
            },
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP of this process, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where the process was told to outlive its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if sys::ignores_hangup() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }

    /// Gives signals back to the system: from now on they end this process. The name of one that came
    /// before. For who becomes another program: what comes while nobody listens would be lost.
    pub async fn release(mut self) -> Option<&'static str> {
        let mut caught = vec![libc::SIGINT, libc::SIGTERM];
        if self.hangup.is_some() {
            caught.push(libc::SIGHUP);
        }
        sys::default_signals(&caught);
        // What was caught is in the runtime's pipe, and read from it when there is nothing else to do.
        tokio::time::timeout(RELEASE, self.next()).await.ok()
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => "SIGHUP",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

struct PanicGuard {
    name: &'static str,
    stop: Stop,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked; the daemon stops");
            self.stop.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn signal_ourselves(name: &str) {
        let us = std::process::id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {us}")])
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn a_task_that_heeds_the_soft_stop_makes_a_clean_end() {
        let life = Lifecycle::new();
        let stop = life.stop_handle();
        life.spawn("polite", async move { stop.soft().await });
        life.stop_handle().stop();
        assert_eq!(
            life.run(Signals::catch().unwrap(), LONG).await,
            Ending::Clean
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_for_the_hard_stop_gets_it_when_grace_is_over() {
        let life = Lifecycle::new();
        let stop = life.stop_handle();
        let task = life.spawn("busy", async move {
            stop.soft().await;
            assert!(!stop.is_hard());
            stop.hard().await;
        });
        life.stop_handle().stop();
        assert_eq!(
            life.run(Signals::catch().unwrap(), LONG).await,
            Ending::Forced
        );
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_abandoned_after_the_last_call() {
        let life = Lifecycle::new();
        life.spawn("deaf", std::future::pending::<()>());
        life.stop_handle().stop();
        let ending = life.run(Signals::catch().unwrap(), LONG).await;
        assert_eq!(ending, Ending::Abandoned { tasks: 1 });
    }

    #[tokio::test]
    async fn a_panic_in_a_task_stops_the_daemon() {
        let life = Lifecycle::new();
        let task = life.spawn("broken", async { panic!("on purpose") });
        assert_eq!(
            life.run(Signals::catch().unwrap(), LONG).await,
            Ending::Clean
        );
        assert!(task.await.unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn the_first_signal_is_soft_and_the_second_hard() {
        let life = Lifecycle::new();
        let signals = Signals::catch().unwrap();
        let stop = life.stop_handle();
        life.spawn("stubborn", async move {
            signal_ourselves("HUP");
            stop.soft().await;
            assert!(!stop.is_hard());
            signal_ourselves("INT");
            stop.hard().await;
        });
        assert_eq!(life.run(signals, LONG).await, Ending::Forced);
    }
}
