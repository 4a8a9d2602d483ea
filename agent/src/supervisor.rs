//! One worker process: started, listened to, and brought to its end, whatever it does.
//!
//! ```text
//!   spawn ─▶ request on stdin ─▶ frames on stdout ─▶ Finished | Failed ─▶ end of file ─▶ exit
//!                                    │
//!          rubbish, time limit, memory limit, stop ─▶ SIGTERM, grace, SIGKILL to the group
//! ```
//!
//! The worker's standard input stays open as long as the agent wants it: its end tells the worker
//! to die, also when the agent was killed. Standard error is read always and its end kept.

mod conversation;
mod pipes;

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use domain::job::LaunchOutcome;
use domain::suite::Subject;
use domain::worker::{Failed, FailureKind, Finished, Frame};
use proto::wire;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::sensors;
use crate::sys;
use conversation::{Conversation, Last};
use pipes::{Said, Tail};

/// Between asking a worker to end and killing it.
const GRACE: Duration = Duration::from_secs(1);

/// A worker that has said its last word has so long to leave by itself: freeing many gigabytes of
/// memory takes seconds.
pub const LEAVE: Duration = Duration::from_secs(20);

/// After the worker's end its pipes are empty soon, unless a child of its own holds them.
const DRAIN: Duration = Duration::from_secs(1);

/// How often the worker's memory is looked at.
const MEMORY_WATCH: Duration = Duration::from_millis(500);

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Suite {
    pub program: PathBuf,
    /// Set beside the agent's own environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Suite {
    /// A worker as this platform wants it started.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            env: fast_blas().into_iter().collect(),
        }
    }
}

/// Debian's builds of OpenBLAS; MLX's Linux wheel carries the reference BLAS, which is many times
/// slower.
const OPENBLAS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib64/libopenblasp.so.0",
    "/usr/lib64/libopenblas.so.0",
];

/// The preload that gives workers a fast BLAS, where it is installed and nobody chose another.
fn fast_blas() -> Option<(OsString, OsString)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "not a setting of ours: what the loader will be told"
    )]
    let preloaded = std::env::var_os("LD_PRELOAD").is_some();
    if preloaded || cfg!(not(target_os = "linux")) {
        return None;
    }
    let found = OPENBLAS
        .iter()
        .find(|path| std::path::Path::new(path).exists());
    if let Some(path) = found {
        tracing::info!(path, "workers run with OpenBLAS");
    } else {
        tracing::warn!("no OpenBLAS found: workers run with MLX's slow reference BLAS");
    }
    found.map(|path| ("LD_PRELOAD".into(), path.into()))
}

/// The limits of one launch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub time: Duration,
    pub memory_bytes: u64,
    /// From the end of its output to the end of the worker.
    pub leave: Duration,
}

/// Takes what the worker says, while it says it.
pub trait Listener: Send {
    fn spawned(&mut self, pid: u32);
    fn frame(&mut self, frame: Frame) -> impl Future<Output = ()> + Send;
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub outcome: LaunchOutcome,
    /// What the worker blamed, when it told why it could not go on.
    pub blame: Option<FailureKind>,
    pub message: String,
    pub finished: Option<Finished>,
    pub stderr_tail: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
}

impl Ended {
    fn bare(outcome: LaunchOutcome, message: String) -> Self {
        Self {
            outcome,
            blame: None,
            message,
            finished: None,
            stderr_tail: String::new(),
            exit_code: None,
            signal: None,
        }
    }
}

/// Why we stopped listening.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cut {
    /// The worker closed its output.
    Silence,
    Rubbish(String),
    TimedOut,
    Memory(u64),
    Stopped,
}

/// Runs one worker to its end; `stop` resolves when it is not wanted any more.
pub async fn supervise(
    suite: &Suite,
    request: &wire::WorkerRequest,
    limits: Limits,
    listener: &mut impl Listener,
    stop: impl Future<Output = ()> + Send,
) -> Ended {
    let mut child = match spawn(suite) {
        Ok(child) => child,
        Err(error) => {
            let what = format!("cannot start {}: {error}", suite.program.display());
            return Ended::bare(LaunchOutcome::Crashed, what);
        }
    };
    let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) = (
        child.id(),
        child.stdin.take(),
        child.stdout.take(),
        child.stderr.take(),
    ) else {
        unreachable!("a child just spawned has an id and the three pipes asked for");
    };
    listener.spawned(pid);
    let tail = Tail::keep(stderr);
    let mut said = Said::read(stdout);
    let subject = match request.model {
        Some(_) => Subject::Model,
        None => Subject::Machine,
    };
    let mut talk = Conversation::about(subject);
    let (cut, stdin) = listen(
        pid, stdin, request, limits, &mut said, &mut talk, listener, stop,
    )
    .await;
    let left = match cut {
        Cut::Silence => bring_to_its_end(&mut child, pid, limits.leave, stdin).await,
        Cut::Rubbish(_) => {
            sys::signal_group(pid, libc::SIGTERM);
            bring_to_its_end(&mut child, pid, GRACE, stdin).await
        }
        Cut::TimedOut | Cut::Memory(_) | Cut::Stopped => {
            sys::signal_group(pid, libc::SIGTERM);
            // What it had measured until then is kept.
            let rest = timeout(GRACE + DRAIN, hear_out(&mut said, &mut talk, listener));
            let end = bring_to_its_end(&mut child, pid, GRACE, stdin);
            tokio::join!(end, rest).0
        }
    };
    let stderr_tail = tail.text(DRAIN).await;
    tracing::debug!(pid, ?cut, ?left, "the worker ended");
    Ended {
        stderr_tail,
        ..conclude(cut, &talk, left, limits)
    }
}

fn spawn(suite: &Suite) -> std::io::Result<Child> {
    Command::new(&suite.program)
        .arg("run")
        .envs(suite.env.iter().map(|(key, value)| (key, value)))
        .env_remove("MLX_FLEET_JOIN_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

#[expect(clippy::too_many_arguments, reason = "the parts of one conversation")]
async fn listen(
    pid: u32,
    mut stdin: ChildStdin,
    request: &wire::WorkerRequest,
    limits: Limits,
    said: &mut Said,
    talk: &mut Conversation,
    listener: &mut impl Listener,
    stop: impl Future<Output = ()> + Send,
) -> (Cut, ChildStdin) {
    let deadline = Instant::now() + limits.time;
    let request = prost::Message::encode_length_delimited_to_vec(request);
    let mut asked = std::pin::pin!(async move {
        // A worker that ends before it reads everything is judged by its end.
        stdin.write_all(&request).await.ok();
        stdin.flush().await.ok();
        stdin
    });
    let mut stdin = None;
    let mut stop = std::pin::pin!(stop);
    let mut memory = interval(MEMORY_WATCH);
    memory.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cut = loop {
        tokio::select! {
            open = &mut asked, if stdin.is_none() => stdin = Some(open),
            frame = said.next() => match frame {
                None => break Cut::Silence,
                Some(Err(why)) => break Cut::Rubbish(why),
                Some(Ok(frame)) => {
                    if let Err(why) = talk.accept(&frame) {
                        break Cut::Rubbish(why);
                    }
                    listener.frame(frame).await;
                }
            },
            _ = memory.tick() => match sensors::process_memory_bytes(pid) {
                Some(bytes) if bytes > limits.memory_bytes => break Cut::Memory(bytes),
                _ => {}
            },
            () = sleep_until(deadline) => break Cut::TimedOut,
            () = &mut stop => break Cut::Stopped,
        }
    };
    if let Some(stdin) = stdin {
        return (cut, stdin);
    }
    // The worker never read its request: nothing more will come of waiting for it.
    sys::signal_group(pid, libc::SIGTERM);
    if let Ok(stdin) = timeout(GRACE, &mut asked).await {
        return (cut, stdin);
    }
    sys::signal_group(pid, libc::SIGKILL);
    (cut, asked.await)
}

/// Takes what the worker said before its end, up to where it makes no sense.
async fn hear_out(said: &mut Said, talk: &mut Conversation, listener: &mut impl Listener) {
    while let Some(Ok(frame)) = said.next().await
        && talk.accept(&frame).is_ok()
    {
        listener.frame(frame).await;
    }
}

/// How the process went.
#[derive(Clone, Copy, Debug)]
enum Left {
    ByItself(ExitStatus),
    Killed,
}

/// Waits for the worker's end, which is made to come.
async fn bring_to_its_end(
    child: &mut Child,
    pid: u32,
    patience: Duration,
    stdin: ChildStdin,
) -> Left {
    let waited = timeout(patience, child.wait()).await;
    drop(stdin);
    // Whether it left or not: what it started itself must not run on.
    sys::signal_group(pid, libc::SIGKILL);
    if let Ok(Ok(status)) = waited {
        return Left::ByItself(status);
    }
    if let Err(error) = child.wait().await {
        tracing::warn!(pid, %error, "the worker's end could not be seen");
    }
    Left::Killed
}

fn conclude(cut: Cut, talk: &Conversation, left: Left, limits: Limits) -> Ended {
    let (exit_code, signal) = match left {
        Left::ByItself(status) => (status.code(), status.signal()),
        Left::Killed => (None, Some(libc::SIGKILL)),
    };
    let last = talk.last();
    let (outcome, message) = match cut {
        Cut::Stopped => (LaunchOutcome::Interrupted, "stopped".to_owned()),
        Cut::TimedOut => (
            LaunchOutcome::TimedOut,
            format!(
                "not done after {:?}, the plan's launch_timeout",
                limits.time
            ),
        ),
        Cut::Memory(bytes) => (
            LaunchOutcome::Failed,
            format!(
                "killed: the worker took {:.1} GB of memory, its share of this machine is {:.1} GB",
                bytes as f64 / 1e9,
                limits.memory_bytes as f64 / 1e9
            ),
        ),
        Cut::Rubbish(why) => (LaunchOutcome::ProtocolError, why),
        Cut::Silence => judge(&last, left),
    };
    let (blame, finished) = match last {
        Last::Failed(Failed { kind, .. }) => (Some(kind), None),
        Last::Finished(finished) => (None, Some(finished)),
        Last::Open(_) => (None, None),
    };
    Ended {
        blame: blame.filter(|_| matches!(outcome, LaunchOutcome::Failed | LaunchOutcome::Skipped)),
        finished,
        exit_code,
        signal,
        ..Ended::bare(outcome, message)
    }
}

/// A worker that closed its output by itself, by its last word and the way it left.
fn judge(last: &Last, left: Left) -> (LaunchOutcome, String) {
    let place = last.place();
    match (last, left) {
        (Last::Failed(Failed { kind, message }), _) => {
            let outcome = match kind {
                FailureKind::Skipped => LaunchOutcome::Skipped,
                FailureKind::Model | FailureKind::Case | FailureKind::Internal => {
                    LaunchOutcome::Failed
                }
            };
            (outcome, message.clone())
        }
        (Last::Finished(_) | Last::Open(_), Left::Killed) => (
            LaunchOutcome::ProtocolError,
            format!("the worker closed its output {place} and did not end"),
        ),
        (Last::Finished(_), Left::ByItself(status)) if status.success() => {
            (LaunchOutcome::Succeeded, String::new())
        }
        (Last::Open(_), Left::ByItself(status)) if status.success() => (
            LaunchOutcome::ProtocolError,
            format!("the worker ended {place}, without a last frame"),
        ),
        (Last::Finished(_) | Last::Open(_), Left::ByItself(status)) => {
            let how = match (status.signal(), status.code()) {
                (Some(signal), _) => format!("was killed by signal {signal}"),
                (None, Some(code)) => format!("ended with exit code {code}"),
                (None, None) => "ended".to_owned(),
            };
            (LaunchOutcome::Crashed, format!("the worker {how} {place}"))
        }
    }
}
