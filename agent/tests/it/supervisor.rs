//! Every way in which a worker can end, told apart.

use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::supervisor::{Ended, LEAVE, Limits, Listener, Suite, supervise};
use domain::job::LaunchOutcome;
use domain::worker::{FailureKind, Frame, Request};
use proto::wire;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{DEADLINE, case, fake_suite, model, protocol};

const LIMITS: Limits = Limits {
    time: DEADLINE,
    memory_bytes: 4_000_000_000,
    leave: LEAVE,
};

struct Heard {
    pid: Option<u32>,
    frames: Vec<Frame>,
    told: mpsc::Sender<()>,
}

impl Listener for Heard {
    fn spawned(&mut self, pid: u32) {
        self.pid = Some(pid);
    }

    async fn frame(&mut self, frame: Frame) {
        self.frames.push(frame);
        self.told.try_send(()).ok();
    }
}

fn request(behaviour: &str, cache_dir: &Path) -> wire::WorkerRequest {
    (&Request {
        model: Some(model(behaviour)),
        case: case(0),
        protocol: protocol(1),
        cache_dir: cache_dir.to_string_lossy().into_owned(),
        memory_limit_bytes: 1_000_000_000,
        launch_seed: 1,
    })
        .into()
}

async fn supervised(
    behaviour: &str,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> (Ended, Vec<Frame>) {
    let dir = tempfile::tempdir().unwrap();
    let request = request(behaviour, dir.path());
    let (told, _) = mpsc::channel(1);
    let mut heard = Heard {
        pid: None,
        frames: Vec::new(),
        told,
    };
    let suite = fake_suite();
    let ended = supervise(&suite, &request, limits, &mut heard, stop);
    let ended = timeout(DEADLINE, ended).await.expect("an end");
    assert_gone(heard.pid.expect("a process"));
    (ended, heard.frames)
}

async fn ended(behaviour: &str) -> Ended {
    supervised(behaviour, LIMITS, pending()).await.0
}

/// No process of the worker's group is left.
fn assert_gone(pid: u32) {
    let group = format!("-{pid}");
    let alive = std::process::Command::new("kill")
        .args(["-0", "--", &group])
        .output()
        .unwrap();
    assert!(!alive.status.success(), "{pid} lives on");
}

#[tokio::test]
async fn a_good_worker_is_heard_to_its_end() {
    let (ended, frames) = supervised("good", LIMITS, pending()).await;
    assert_eq!(ended.outcome, LaunchOutcome::Succeeded);
    assert!(ended.finished.unwrap().steady);
    assert_eq!((ended.exit_code, ended.message.as_str()), (Some(0), ""));
    let names: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Started(_) => "started",
            Frame::Model(_) => "model",
            Frame::Iteration(_) => "iteration",
            Frame::Finished(_) => "finished",
            Frame::Failed(_) => "failed",
        })
        .collect();
    assert_eq!(
        names,
        ["started", "model", "iteration", "iteration", "finished"]
    );
}

#[tokio::test]
async fn a_crash_is_told_with_its_signal_and_what_was_measured_is_kept() {
    let (ended, frames) = supervised("crash", LIMITS, pending()).await;
    assert_eq!(ended.outcome, LaunchOutcome::Crashed);
    assert_eq!(ended.signal, Some(6));
    assert_eq!(
        ended.message,
        "the worker was killed by signal 6 while it measured"
    );
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, Frame::Iteration(_)))
    );
}

#[tokio::test]
async fn an_exit_without_a_word_is_told_with_its_code_and_standard_error() {
    let ended = ended("exit").await;
    assert_eq!(
        (ended.outcome, ended.exit_code),
        (LaunchOutcome::Crashed, Some(7))
    );
    assert_eq!(ended.stderr_tail, "no such luck\n");
}

#[tokio::test]
async fn of_much_standard_error_the_end_is_kept() {
    let ended = ended("chatty").await;
    assert_eq!(ended.outcome, LaunchOutcome::Succeeded);
    assert_eq!(ended.stderr_tail.len(), 64 * 1024);
    assert!(ended.stderr_tail.ends_with("xthe end\n"));
}

#[tokio::test]
async fn rubbish_is_no_protocol() {
    for (behaviour, told) in [
        ("rubbish", "not the worker's protocol"),
        ("half", "ends inside a frame"),
        ("giant", "more than the 8388608 allowed"),
        ("disorder", "before Started"),
        ("silent", "while it loaded the model, without a last frame"),
    ] {
        let ended = ended(behaviour).await;
        assert_eq!(
            ended.outcome,
            LaunchOutcome::ProtocolError,
            "{behaviour}: {ended:?}"
        );
        assert!(
            ended.message.contains(told),
            "{behaviour}: {}",
            ended.message
        );
    }
}

#[tokio::test]
async fn a_worker_that_closes_its_output_and_stays_is_made_to_leave() {
    let limits = Limits {
        leave: Duration::from_millis(100),
        ..LIMITS
    };
    let (ended, _) = supervised("quiet", limits, pending()).await;
    assert_eq!(ended.outcome, LaunchOutcome::ProtocolError);
    assert!(ended.message.contains("did not end"), "{}", ended.message);
}

#[tokio::test]
async fn a_worker_that_hangs_runs_out_of_time() {
    let limits = Limits {
        time: Duration::from_millis(300),
        ..LIMITS
    };
    let (ended, _) = supervised("hang", limits, pending()).await;
    assert_eq!(ended.outcome, LaunchOutcome::TimedOut);
    assert!(ended.message.contains("300ms"), "{}", ended.message);
}

#[tokio::test]
async fn a_worker_that_eats_memory_is_stopped_before_the_machine_suffers() {
    let limits = Limits {
        memory_bytes: 300_000_000,
        ..LIMITS
    };
    let (ended, _) = supervised("eats", limits, pending()).await;
    assert_eq!((ended.outcome, ended.blame), (LaunchOutcome::Failed, None));
    assert!(
        ended
            .message
            .contains("its share of this machine is 0.3 GB"),
        "{}",
        ended.message
    );
}

#[tokio::test]
async fn what_the_worker_blames_is_passed_on() {
    for (behaviour, outcome, blame) in [
        ("model-fault", LaunchOutcome::Failed, FailureKind::Model),
        ("skipped", LaunchOutcome::Skipped, FailureKind::Skipped),
        ("internal", LaunchOutcome::Failed, FailureKind::Internal),
    ] {
        let ended = ended(behaviour).await;
        assert_eq!((ended.outcome, ended.blame), (outcome, Some(blame)));
        assert!(!ended.message.is_empty());
    }
}

#[tokio::test]
async fn a_stopped_worker_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let request = request("hang", dir.path());
    let (told, mut measuring) = mpsc::channel(1);
    let mut heard = Heard {
        pid: None,
        frames: Vec::new(),
        told,
    };
    let stop = async move {
        measuring.recv().await;
    };
    let suite = fake_suite();
    let ended = supervise(&suite, &request, LIMITS, &mut heard, stop);
    let ended = timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(ended.outcome, LaunchOutcome::Interrupted);
    assert_gone(heard.pid.unwrap());
}

/// Hears nothing for as long as the worker has something to say.
struct Slow {
    said: PathBuf,
    stop: mpsc::Sender<()>,
    iterations: u32,
}

impl Listener for Slow {
    fn spawned(&mut self, _: u32) {}

    async fn frame(&mut self, frame: Frame) {
        while !self.said.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stop.try_send(()).ok();
        self.iterations += u32::from(matches!(frame, Frame::Iteration(_)));
    }
}

#[tokio::test]
async fn what_a_worker_said_before_it_was_stopped_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request("says-much", dir.path());
    request.protocol.as_mut().unwrap().iterations = 100;
    let (sender, mut asked) = mpsc::channel(1);
    let mut slow = Slow {
        said: dir.path().join("said"),
        stop: sender,
        iterations: 0,
    };
    let stop = async {
        asked.recv().await;
    };
    let suite = fake_suite();
    let ended = supervise(&suite, &request, LIMITS, &mut slow, stop);
    let ended = timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(ended.outcome, LaunchOutcome::Interrupted);
    assert_eq!(slow.iterations, 100);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let suite = Suite {
        program: PathBuf::from("/nowhere/mlx-fleet-suite"),
        env: Vec::new(),
    };
    let (told, _) = mpsc::channel(1);
    let mut heard = Heard {
        pid: None,
        frames: Vec::new(),
        told,
    };
    let request = request("good", Path::new("/nowhere"));
    let ended = supervise(&suite, &request, LIMITS, &mut heard, pending()).await;
    assert_eq!(ended.outcome, LaunchOutcome::Crashed);
    assert!(
        ended.message.contains("/nowhere/mlx-fleet-suite"),
        "{}",
        ended.message
    );
}
