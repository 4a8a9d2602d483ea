//! How long a prompt the machine takes with a model: halving, between lengths that ran and ones that
//! did not.
//!
//! ```text
//!   arithmetic ─▶ first guess ─▶ child: the suite's case of that length ─▶ ran within the limit?
//!                     ▲                                                      │ yes: longer
//!                     └──────── until a sixteenth apart, or out of time ◀────┘ no, or killed: shorter
//! ```
//!
//! Every length has a worker process of its own: one that the system kills for its memory is an answer
//! and not the end.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use domain::metric::Metric;
use domain::reason::Reason;
use domain::suite::{Case, memory};
use domain::worker::{Failed, FailureKind, Finished, Frame, Iteration, Phase, Request, Sample};
use proto::frame;
use proto::wire;

use crate::device;
use crate::fit::Outline;
use crate::harness::TrialError;
use crate::models::cache;
use crate::suites::{Bench, Files};

/// Lengths are whole steps of the cache, which is what memory grows by.
const STEP: u64 = cache::STEP as u64;
/// The answer is so near to the truth, or a step.
const NEAR: u64 = 16;
const MOST_PROBES: u32 = 16;
/// What arithmetic says takes more hundredths of the limit than this is not tried: a machine that swaps
/// for minutes gives no answer. Arithmetic may be that wrong about a small model.
const FAR_PERCENT: u64 = 300;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(
        "the longest prompt was not found within the launch's time: between {fits} and {fails} tokens; \
         give the plan a longer launch_timeout or a smaller max_context"
    )]
    OutOfTime { fits: u64, fails: u64 },
    #[error("not even {tokens} tokens ran: {why}")]
    Nothing { tokens: u64, why: String },
    #[error("the model cannot be measured: {0}")]
    Model(String),
    #[error("a worker for one length cannot be run: {0}")]
    Process(#[from] io::Error),
}

/// What came of one length.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    /// Its doubts are those of the number.
    Fits(Vec<Reason>),
    TooLong(String),
    OutOfTime,
}

pub fn measure(bench: &Bench<'_>, up_to_tokens: u64) -> Result<Finished, TrialError> {
    let Files { model, folder, .. } = bench.files()?;
    let request = bench.request;
    let outline = Outline::of_files(folder, model.dtype)?;
    let is_gpu = device::device_info()?.is_gpu;
    let limit = request.memory_limit_bytes;
    let ceiling = up_to_tokens.min(outline.max_positions().unwrap_or(u64::MAX));
    let predicted = |percent: u64| {
        longest_within(ceiling, |tokens| {
            limit == 0 || outline.needs_bytes(&prompt(tokens), is_gpu) <= limit / 100 * percent
        })
    };
    // A launch that is killed tells nothing; the last frames and the agent want some of its time.
    let ends = request.protocol.launch_timeout.mul_f64(0.9);
    let started = bench.clock.elapsed();
    let mut is_announced = false;
    let mut doubts = Vec::new();
    let program = std::env::current_exe().map_err(SearchError::Process)?;
    let found = search(predicted(FAR_PERCENT), predicted(100), |tokens| {
        let left = ends.saturating_sub(bench.clock.elapsed());
        let mut command = Command::new(&program);
        command.arg("run");
        let request = Request {
            case: prompt(tokens),
            // Whether it fits is the question.
            memory_limit_bytes: 0,
            ..request.clone()
        };
        let mut is_first = |frame| {
            if std::mem::replace(&mut is_announced, true) {
                return Ok(());
            }
            (bench.send)(frame)
        };
        let answer = ask(command, &request, limit, left, &mut is_first)?;
        eprintln!("{tokens} tokens: {answer:?}");
        if let Answer::Fits(reasons) = &answer {
            doubts.clone_from(reasons);
        }
        Ok(answer)
    })?;
    (bench.send)(Frame::Iteration(Iteration {
        ordinal: 0,
        phase: Phase::Measured,
        mode: "max_context".to_owned(),
        started,
        duration: bench.clock.elapsed().saturating_sub(started),
        work: found,
        token_times: Vec::new(),
        samples: vec![Sample {
            metric: Metric::MaxContextFit,
            value: found as f64,
        }],
        reasons: doubts,
        token_ids_sha256: String::new(),
    }))
    .map_err(TrialError::Emit)?;
    Ok(Finished {
        steady: true,
        warmup_iterations: 0,
    })
}

fn prompt(prompt_tokens: u64) -> Case {
    Case::Memory(memory::Case::Prompt { prompt_tokens })
}

/// The largest length up to `ceiling` for which it holds; it holds for all shorter ones too.
fn longest_within(ceiling: u64, holds: impl Fn(u64) -> bool) -> u64 {
    if holds(ceiling) {
        return ceiling;
    }
    let (mut yes, mut no) = (0, ceiling.div_ceil(STEP));
    while no - yes > 1 {
        let middle = yes.midpoint(no);
        if holds(middle * STEP) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    yes * STEP
}

/// The longest that fits, `most` being the longest that may be tried; begins near `guess`.
fn search(
    most: u64,
    guess: u64,
    mut fits: impl FnMut(u64) -> Result<Answer, SearchError>,
) -> Result<u64, SearchError> {
    // The shortest that says anything, where arithmetic leaves nothing.
    let most = most.max(STEP.min(most.max(2)));
    let (mut longest, mut shortest_not) = (0, most + 1);
    let mut why = String::new();
    let mut next = guess.clamp(STEP.min(most), most);
    // Careful at first beyond the guess, which may be right.
    let mut growth = 4;
    for _ in 0..MOST_PROBES {
        match fits(next)? {
            Answer::Fits(_) => longest = next,
            Answer::TooLong(reason) => (shortest_not, why) = (next, reason),
            Answer::OutOfTime => break,
        }
        if longest == most {
            return Ok(longest);
        }
        if shortest_not <= STEP.min(most) {
            let tokens = shortest_not;
            return Err(SearchError::Nothing { tokens, why });
        }
        if longest > 0 && shortest_not - longest <= STEP.max(longest / NEAR) {
            return Ok(longest);
        }
        next = if longest > 0 && shortest_not > most {
            let farther = longest + (longest / growth).max(STEP);
            growth = (growth / 2).max(1);
            (farther / STEP * STEP).min(most)
        } else {
            (longest.midpoint(shortest_not) / STEP * STEP).clamp(STEP.min(most), most)
        };
    }
    Err(SearchError::OutOfTime {
        fits: longest,
        fails: shortest_not,
    })
}

/// Has a worker read a prompt; what it tells of the model goes to `tell_model`.
fn ask(
    mut command: Command,
    request: &Request,
    limit_bytes: u64,
    time: Duration,
    tell_model: &mut dyn FnMut(Frame) -> io::Result<()>,
) -> Result<Answer, SearchError> {
    if time.is_zero() {
        return Ok(Answer::OutOfTime);
    }
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = Ended(child);
    // Held open until the end: a worker whose input closes leaves.
    let mut input = child.0.stdin.take();
    if let Some(input) = &mut input {
        // One that is dead already answers by how it died.
        let _ = frame::write(input, &wire::WorkerRequest::from(request));
    }
    let Some(mut output) = child.0.stdout.take() else {
        unreachable!("it is piped");
    };
    let (send, frames) = sync_channel(1);
    thread::spawn(move || {
        while let Ok(Some(message)) = frame::read::<wire::WorkerFrame>(&mut output) {
            if send.send(message).is_err() {
                return;
            }
        }
    });
    let mut seen: Option<Iteration> = None;
    loop {
        let message = match frames.recv_timeout(time) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return Ok(Answer::OutOfTime),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match Frame::try_from(message).map_err(io::Error::other)? {
            Frame::Started(_) | Frame::Finished(_) => {}
            frame @ Frame::Model(_) => tell_model(frame)?,
            Frame::Iteration(iteration) => seen = Some(iteration),
            Frame::Failed(Failed { kind, message }) => {
                return match kind {
                    FailureKind::Internal => Ok(Answer::TooLong(message)),
                    FailureKind::Model | FailureKind::Case | FailureKind::Skipped => {
                        Err(SearchError::Model(message))
                    }
                };
            }
        }
    }
    let status = child.0.wait()?;
    Ok(match seen {
        Some(iteration) if status.success() => within(&iteration, limit_bytes),
        _ => Answer::TooLong(format!("its worker ended with {status}")),
    })
}

/// What ran is within the limit or beyond it, by MLX's own peak.
fn within(iteration: &Iteration, limit_bytes: u64) -> Answer {
    let of_process = |sample: &&Sample| sample.metric == Metric::MemPeakProcessBytes;
    let peak = iteration.samples.iter().find(of_process);
    match peak.map(|peak| peak.value) {
        Some(peak) if limit_bytes > 0 && peak > limit_bytes as f64 => Answer::TooLong(format!(
            "it took {peak} bytes, and models may have {limit_bytes}"
        )),
        _ => Answer::Fits(iteration.reasons.clone()),
    }
}

/// A child that does not outlive us, whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail where it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a machine that takes so many tokens, and counts how often it was asked.
    fn found(most: u64, guess: u64, takes: u64) -> (Result<u64, SearchError>, u32) {
        let mut asked = 0;
        let answer = search(most, guess, |tokens| {
            asked += 1;
            assert!(tokens <= most, "{tokens} is more than may be tried");
            Ok(if tokens <= takes {
                Answer::Fits(Vec::new())
            } else {
                Answer::TooLong("killed".to_owned())
            })
        });
        (answer, asked)
    }

    #[test]
    fn the_answer_ran_and_what_is_a_sixteenth_longer_did_not() {
        for takes in [256, 300, 5000, 20_000, 77_777, 131_071] {
            for guess in [256, 4096, 40_000, 131_072] {
                let (longest, asked) = found(131_072, guess, takes);
                let longest = longest.unwrap();
                assert!(longest <= takes, "{longest} of {takes}");
                let near = (longest / NEAR).max(STEP);
                assert!(longest + near > takes, "{longest} of {takes}");
                assert!(asked <= MOST_PROBES, "{asked}");
            }
        }
    }

    #[test]
    fn a_machine_that_takes_all_is_asked_once_and_one_that_takes_nothing_says_why() {
        assert!(matches!(found(4096, 4096, 9999), (Ok(4096), 1)));
        assert!(
            matches!(found(4096, 1024, 9999), (Ok(4096), 5)),
            "1024, 1280, 1792, 3584 and all"
        );
        assert!(
            matches!(found(100, 100, 9999), (Ok(100), 1)),
            "less than a step"
        );
        let (nothing, _) = found(4096, 4096, 0);
        let said = nothing.unwrap_err().to_string();
        assert_eq!(said, "not even 256 tokens ran: killed");
        let late = search(4096, 4096, |_| Ok(Answer::OutOfTime)).unwrap_err();
        assert!(late.to_string().contains("launch_timeout"), "{late}");
    }

    #[test]
    fn arithmetic_finds_the_last_step_that_holds() {
        assert_eq!(longest_within(4096, |_| true), 4096);
        assert_eq!(longest_within(4000, |tokens| tokens <= 1300), 1280);
        assert_eq!(longest_within(4000, |tokens| tokens < 256), 0);
    }

    fn answer(script: &str, time: Duration) -> Result<Answer, SearchError> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let request = Request {
            model: None,
            case: prompt(256),
            protocol: domain::plan::Protocol::default(),
            cache_dir: String::new(),
            memory_limit_bytes: 0,
            launch_seed: 0,
        };
        ask(shell, &request, 0, time, &mut |_| Ok(()))
    }

    #[test]
    fn a_worker_that_is_killed_is_an_answer_and_one_that_hangs_is_ended() {
        let minute = Duration::from_mins(1);
        let killed = answer("kill -9 $$", minute).unwrap();
        assert!(
            matches!(&killed, Answer::TooLong(why) if why.contains("signal: 9")),
            "{killed:?}"
        );
        // Ending well without a word is no answer either.
        assert!(matches!(answer("exit 0", minute), Ok(Answer::TooLong(_))));
        let hangs = answer("exec sleep 600", Duration::from_millis(50)).unwrap();
        assert_eq!(hangs, Answer::OutOfTime);
    }
}
