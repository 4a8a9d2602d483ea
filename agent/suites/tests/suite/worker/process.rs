//! A worker process with its pipes, and what it said.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use domain::model::{Dtype, ModelIdentity, ModelRef};
use domain::plan::Protocol;
use domain::suite::Case;
use domain::worker::{Frame, Iteration, Request};
use proto::{frame, wire};

/// Longest that any launch of these tests takes, many times over.
const DEADLINE: Duration = Duration::from_secs(50);

/// Synthetic weights are written once for all tests.
pub fn cache_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("worker-cache")
}

pub fn request(model: &str, dtype: Dtype, case: Case) -> Request {
    Request {
        model: Some(ModelRef {
            source: format!("synthetic:{model}").parse().unwrap(),
            dtype: Some(dtype),
        }),
        case,
        protocol: Protocol {
            iterations: 2,
            min_region: Duration::from_millis(20),
            warmup_max_iterations: 3,
            warmup_max: Duration::from_secs(5),
            ..Protocol::default()
        },
        cache_dir: cache_dir().to_str().unwrap().to_owned(),
        memory_limit_bytes: 0,
        launch_seed: 2,
    }
}

pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    frames: Vec<Frame>,
}

/// A worker that has ended.
pub struct Launch {
    pub frames: Vec<Frame>,
    pub exit: Option<i32>,
    pub log: String,
}

impl Worker {
    /// Asks for one launch; standard input stays open.
    pub fn start(request: &Request) -> Self {
        let mut worker = Self::spawn();
        let message = wire::WorkerRequest::from(request);
        frame::write(worker.input.as_mut().unwrap(), &message).unwrap();
        worker
    }

    /// Gives the bytes and closes standard input.
    pub fn with_input(bytes: &[u8]) -> Self {
        let mut worker = Self::spawn();
        worker.input.take().unwrap().write_all(bytes).unwrap();
        worker
    }

    fn spawn() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mlx-fleet-suite"))
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Self {
            child,
            input,
            output,
            frames: Vec::new(),
        }
    }

    /// Reads the next frame; None at the end.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let message: wire::WorkerFrame = frame::read(self.output.as_mut()?).unwrap()?;
        let frame = Frame::try_from(message).unwrap();
        self.frames.push(frame.clone());
        Some(frame)
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    pub fn close_output(&mut self) {
        self.output = None;
    }

    pub fn finish(self) -> Launch {
        self.finish_within(DEADLINE)
    }

    /// Reads on until the worker has ended; kills it and fails when that takes too long.
    pub fn finish_within(mut self, limit: Duration) -> Launch {
        let killer = Killer::after(limit, self.child.id());
        while self.next_frame().is_some() {}
        // Standard input closes only after the worker's last word.
        let input = self.input.take();
        let output = self.child.wait_with_output().unwrap();
        drop(input);
        assert!(!killer.has_fired(), "still running after {limit:?}");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Launch {
            frames: self.frames,
            exit: output.status.code(),
            log,
        }
    }
}

impl Launch {
    pub fn model(&self) -> &ModelIdentity {
        let model = self.frames.iter().find_map(|frame| match frame {
            Frame::Model(model) => Some(model),
            _ => None,
        });
        model.expect("the worker told its model")
    }

    pub fn iterations(&self) -> Vec<&Iteration> {
        let iterations = self.frames.iter().filter_map(|frame| match frame {
            Frame::Iteration(iteration) => Some(iteration),
            _ => None,
        });
        iterations.collect()
    }
}

/// Ends a process that does not end by itself.
struct Killer {
    done: Option<mpsc::SyncSender<()>>,
    fired: Receiver<()>,
}

impl Killer {
    fn after(limit: Duration, pid: u32) -> Self {
        let (done, wait) = mpsc::sync_channel::<()>(1);
        let (fire, fired) = mpsc::sync_channel(1);
        thread::spawn(move || {
            if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = fire.send(());
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        });
        Self {
            done: Some(done),
            fired,
        }
    }

    fn has_fired(mut self) -> bool {
        self.done = None;
        self.fired.try_recv().is_ok()
    }
}
