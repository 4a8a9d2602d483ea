//! A worker that measures nothing and behaves as the model's folder is named: the fake for the tests
//! of the supervisor and the driver. It is built as a program and never shipped.
//!
//! `/fake/good` answers like a real worker, and so does `hf://fake/good`; the other names are the ways in which
//! one can go wrong.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio, abort, exit};
use std::thread;
use std::time::Duration;

use domain::metric::Metric;
use domain::model::{Dtype, ModelIdentity, ModelRef};
use domain::worker::{
    Failed, FailureKind, Finished, Frame, Iteration, Phase, Request, Sample, Started,
};
use proto::{frame, wire};

/// Left when standard input ends: the agent is gone.
const ORPHANED: i32 = 9;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("environment") {
        println!("{}", serde_json::to_string(&started()).expect("JSON"));
        return ExitCode::SUCCESS;
    }
    let asked = frame::read::<wire::WorkerRequest>(&mut std::io::stdin());
    let asked = asked.expect("a frame").expect("a request");
    let request = Request::try_from(asked).expect("a request that makes sense");
    thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        exit(ORPHANED);
    });
    if request.model.is_none() {
        sing(Path::new(&request.cache_dir));
        return ExitCode::SUCCESS;
    }
    let source = asked_model(&request).source.to_string();
    let behaviour = ["/fake/", "hf://fake/"]
        .iter()
        .find_map(|prefix| source.strip_prefix(prefix))
        .expect("a model of the fake's");
    behave(behaviour, &request)
}

fn behave(behaviour: &str, request: &Request) -> ExitCode {
    let cache = Path::new(&request.cache_dir);
    match behaviour {
        "good" => measure(request, |_| {}),
        "crash" => measure(request, |_| abort()),
        "crash-once" if mark(&cache.join("crashed")) => measure(request, |_| abort()),
        "crash-once" => measure(request, |_| {}),
        // As by the system, for its memory: signal 9, and no word.
        "killed-once" if mark(&cache.join("killed")) => measure(request, |_| {
            let pid = std::process::id().to_string();
            std::fs::write(cache.join("killed"), &pid).expect("a file");
            Command::new("kill")
                .args(["-KILL", &pid])
                .status()
                .expect("kill");
            until(|| false);
        }),
        "killed-once" => measure(request, |_| {}),
        // Goes on when the test makes the file.
        "waits" => measure(request, |_| until(|| cache.join("go").exists())),
        // Says all that it has to say but the last word.
        "says-much" => {
            say(Frame::Started(started()));
            say(Frame::Model(model(request)));
            (0..request.protocol.iterations)
                .for_each(|ordinal| say(Frame::Iteration(iteration(ordinal))));
            mark(&cache.join("said"));
            until(|| false);
        }
        "hang" => measure(request, |_| until(|| false)),
        "exit" => {
            eprintln!("no such luck");
            return ExitCode::from(7);
        }
        "chatty" => {
            eprintln!("{}the end", "x".repeat(1024 * 1024));
            measure(request, |_| {});
        }
        "rubbish" => print!("Loading model... done\n\n"),
        "half" => raw(&[100, 1, 2, 3]),
        "giant" => raw(&[0xff, 0xff, 0xff, 0xff, 0x7f]),
        "disorder" => say(Frame::Finished(finished())),
        "silent" => say(Frame::Started(Started::default())),
        // Closes its output and stays, as another program.
        "quiet" => {
            let stays = Command::new("sleep")
                .arg("3600")
                .stdout(Stdio::null())
                .exec();
            panic!("{stays}");
        }
        "eats" => {
            let mut eaten = Vec::new();
            measure(request, |_| {
                loop {
                    eaten.push(vec![1_u8; 8 * 1024 * 1024]);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        "model-fault" => fail(FailureKind::Model, "config.json lacks `hidden_size`"),
        "skipped" => fail(
            FailureKind::Skipped,
            "would not fit, needs 16.1 GB, has 8 GB",
        ),
        "internal" => fail(FailureKind::Internal, "out of luck"),
        other => panic!("no behaviour `{other}`"),
    }
    ExitCode::SUCCESS
}

/// A whole launch; `mid` comes after the first iteration.
fn measure(request: &Request, mut mid: impl FnMut(&Request)) {
    say(Frame::Started(started()));
    say(Frame::Model(model(request)));
    for ordinal in 0..request.protocol.iterations {
        say(Frame::Iteration(iteration(ordinal)));
        if ordinal == 0 {
            mid(request);
        }
    }
    say(Frame::Finished(finished()));
}

fn started() -> Started {
    Started {
        pid: std::process::id(),
        suite_version: "fake".into(),
        suite_commit: "unknown".into(),
        mlx_version: "none".into(),
        mlx_device: "cpu".into(),
        ..Started::default()
    }
}

/// A canary as the file `canary` says: its speed, or how it dies. Each leaves a line in `canaries`.
fn sing(cache: &Path) {
    std::fs::create_dir_all(cache).expect("a folder");
    let mut options = std::fs::OpenOptions::new();
    let count = options
        .create(true)
        .append(true)
        .open(cache.join("canaries"));
    writeln!(count.expect("a file"), "one").expect("a line");
    let behaviour = std::fs::read_to_string(cache.join("canary")).unwrap_or("1".into());
    say(Frame::Started(Started::default()));
    let speed: f64 = match behaviour.as_str() {
        "crash" => abort(),
        "hang" => {
            until(|| false);
            0.0
        }
        speed => speed.parse().expect("a speed"),
    };
    for (ordinal, metric) in [Metric::GemmTflopsF32, Metric::StreamGbps]
        .into_iter()
        .enumerate()
    {
        say(Frame::Iteration(Iteration {
            phase: Phase::Measured,
            samples: vec![Sample {
                metric,
                value: 10.0 * speed,
            }],
            ..iteration(ordinal as u32)
        }));
    }
    say(Frame::Finished(finished()));
}

fn asked_model(request: &Request) -> &ModelRef {
    request.model.as_ref().expect("a suite about a model")
}

fn model(request: &Request) -> ModelIdentity {
    ModelIdentity {
        digest: "0".repeat(64),
        model_type: "fake".into(),
        label: asked_model(request).label(),
        source: asked_model(request).source.to_string(),
        dtype: Dtype::F32,
        quantisation: "none".into(),
        parameters: 1,
        weight_bytes: 4,
        decode_bytes: 4,
        kv_bytes_per_token: 1,
        synthetic: true,
        config_json: "{}".into(),
    }
}

fn iteration(ordinal: u32) -> Iteration {
    Iteration {
        ordinal,
        phase: if ordinal == 0 {
            Phase::Warmup
        } else {
            Phase::Measured
        },
        mode: "pipelined".into(),
        started: Duration::from_millis(u64::from(ordinal) * 10),
        duration: Duration::from_millis(10),
        work: 8,
        token_times: (1..=8).map(Duration::from_millis).collect(),
        samples: vec![Sample {
            metric: Metric::DecodeTps,
            value: 800.0,
        }],
        reasons: Vec::new(),
        token_ids_sha256: String::new(),
    }
}

fn finished() -> Finished {
    Finished {
        steady: true,
        warmup_iterations: 1,
    }
}

fn fail(kind: FailureKind, message: &str) {
    let message = message.into();
    say(Frame::Failed(Failed { kind, message }));
}

fn say(frame: Frame) {
    frame::write(&mut std::io::stdout(), &wire::WorkerFrame::from(frame)).expect("a listener");
}

fn raw(bytes: &[u8]) {
    std::io::stdout().write_all(bytes).expect("a listener");
    std::io::stdout().flush().expect("a listener");
}

/// True the first time.
fn mark(path: &Path) -> bool {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .is_ok()
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::sleep(Duration::from_millis(5));
    }
}
