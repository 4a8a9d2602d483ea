//! `mlx-fleet-suite run`: one launch. Reads a request, measures one case of one model, tells each
//! thing as it is known, ends.
//!
//! ```text
//!   stdin ──▶ request ──▶ Started ──▶ fits? ──▶ files ──▶ suite: Model, Iteration … ──▶ Finished
//!                │                      │         │                │
//!                ▼ refused              └─────────┴──── Failed ◀───┘
//! ```
//!
//! This thread owns MLX. The only other one watches standard input: when the agent goes, so do we.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use domain::worker::{Failed, FailureKind, Finished, Frame, Request};

use crate::device;
use crate::environment;
use crate::fit::{self, Misfit, Outline};
use crate::frames::{self, Frames};
use crate::harness::TrialError;
use crate::harness::clock::WorkerClock;
use crate::load::LoadError;
use crate::load::identity;
use crate::load::source::{self, Places, SourceError};
use crate::suites::memory::SearchError;
use crate::suites::speculative::pair::DraftError;
use crate::suites::{self, Bench, Files};
use crate::synthetic::SyntheticError;
use crate::system;

/// How the process ends; 2 is clap's, for a bad command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Finished = 0,
    Internal = 1,
    Model = 3,
    Case = 4,
    Skipped = 5,
    /// Standard input held no request that can be read.
    Refused = 6,
    /// The agent went away.
    Abandoned = 7,
}

/// The same for people, in `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  measured
  1  failed; another try may succeed
  2  bad command line
  3  the model or its files are at fault
  4  the case makes no sense for this model
  5  skipped: would not fit in memory
  6  standard input holds no request
  7  standard input or output was closed by the other side";

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Model => Self::Model,
            FailureKind::Case => Self::Case,
            FailureKind::Skipped => Self::Skipped,
            FailureKind::Internal => Self::Internal,
        }
    }
}

/// Why a launch ended before its time.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("the worker panicked: {0}")]
    Panic(String),
}

impl LaunchError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Misfit(Misfit::Memory { .. })
            | Self::Trial(
                TrialError::AlreadyQuantised(_)
                | TrialError::Untrainable(_)
                | TrialError::Draft(DraftError::Vocabulary { .. } | DraftError::Tokenizer { .. }),
            ) => FailureKind::Skipped,
            Self::Misfit(Misfit::Context { .. })
            | Self::Trial(TrialError::Search(SearchError::OutOfTime { .. })) => FailureKind::Case,
            Self::Trial(TrialError::Search(SearchError::Model(_))) => FailureKind::Model,
            Self::Trial(
                TrialError::NoModel
                | TrialError::Mlx(_)
                | TrialError::Emit(_)
                | TrialError::Search(SearchError::Nothing { .. } | SearchError::Process(_)),
            )
            | Self::Panic(_) => FailureKind::Internal,
            Self::Source(error) => kind_of_source(error),
            Self::Trial(TrialError::Draft(DraftError::Source { source, .. })) => {
                kind_of_source(source)
            }
            Self::Trial(TrialError::Load(error)) => kind_of_load(error),
        }
    }
}

fn kind_of_source(error: &SourceError) -> FailureKind {
    match error {
        SourceError::Synthetic(SyntheticError::Write { .. }) => FailureKind::Internal,
        SourceError::Load(error) | SourceError::Synthetic(SyntheticError::Load(error)) => {
            kind_of_load(error)
        }
        SourceError::Name(_) | SourceError::NotDownloaded { .. } => FailureKind::Model,
    }
}

/// What is wrong with files will be wrong again; what MLX could not do may succeed another time.
fn kind_of_load(error: &LoadError) -> FailureKind {
    match error {
        LoadError::Mlx(_) => FailureKind::Internal,
        LoadError::Io { .. }
        | LoadError::NoWeights { .. }
        | LoadError::MissingShard { .. }
        | LoadError::Header(_)
        | LoadError::Duplicate { .. }
        | LoadError::Config { .. }
        | LoadError::Weight { .. }
        | LoadError::Tokenizer(_)
        | LoadError::Chat(_)
        | LoadError::Unreadable { .. } => FailureKind::Model,
    }
}

/// The whole life of a worker.
pub fn run() -> Exit {
    let clock = WorkerClock::start();
    let mut frames = match Frames::claim() {
        Ok(frames) => frames,
        Err(error) => {
            eprintln!("error: standard output cannot be claimed: {error}");
            return Exit::Internal;
        }
    };
    let request = match frames::read_request(&mut io::stdin().lock()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Refused;
        }
    };
    if let Err(error) = frames::die_with(io::stdin(), Exit::Abandoned as u8) {
        eprintln!("error: the thread that watches standard input cannot start: {error}");
        return Exit::Internal;
    }

    system::be_urgent();
    system::allow_many_files();
    let out = RefCell::new(&mut frames);
    let send = |frame| out.borrow_mut().send(frame);
    let launched = catch_unwind(AssertUnwindSafe(|| launch(&request, clock, &send)))
        .unwrap_or_else(|panic| Err(LaunchError::Panic(panic_message(panic.as_ref()))));
    let (last, exit) = match launched {
        Ok(finished) => (Frame::Finished(finished), Exit::Finished),
        Err(LaunchError::Trial(TrialError::Emit(error))) => {
            eprintln!("error: writing a frame: {error}");
            return Exit::Abandoned;
        }
        Err(error) => {
            let failed = Failed {
                kind: error.kind(),
                message: error.to_string(),
            };
            eprintln!("error ({}): {}", failed.kind.as_str(), failed.message);
            let exit = failed.kind.into();
            (Frame::Failed(failed), exit)
        }
    };
    match frames.send(last) {
        Ok(()) => exit,
        Err(_) => Exit::Abandoned,
    }
}

fn launch(
    request: &Request,
    clock: WorkerClock,
    send: &dyn Fn(Frame) -> io::Result<()>,
) -> Result<Finished, LaunchError> {
    send(Frame::Started(
        environment::started().map_err(TrialError::Mlx)?,
    ))
    .map_err(TrialError::Emit)?;

    let fits = |outline: &Outline, places: Option<&Places>| -> Result<(), LaunchError> {
        let (case, limit_bytes) = (&request.case, request.memory_limit_bytes);
        let fused_attention = device::device_info().map_err(TrialError::Mlx)?.is_gpu;
        let draft = outline.of_draft(case, places).map_err(TrialError::Draft)?;
        Ok(outline.check(draft.as_ref(), case, fused_attention, limit_bytes)?)
    };
    let places = places(request);
    let mut bench = Bench {
        request,
        files: None,
        places: &places,
        clock,
        send,
    };
    let Some(model) = &request.model else {
        fit::check_machine(&request.case, request.memory_limit_bytes)?;
        return Ok(suites::measure(&bench)?);
    };
    // Before synthetic weights are written, for they may be larger than the disk too.
    if let Some(outline) = Outline::of_catalogue(model) {
        fits(&outline, None)?;
    }
    let folder = source::resolve(&model.source, model.dtype, &places)?;
    let outline = Outline::of_files(&folder, model.dtype).map_err(TrialError::Load)?;
    fits(&outline, Some(&places))?;
    let identity = identity::identify(&folder, &places.cache).map_err(TrialError::Load)?;

    bench.files = Some(Files {
        model,
        folder: &folder,
        digest: &identity.digest,
    });
    Ok(suites::measure(&bench)?)
}

/// The request's cache folder comes before the environment's.
fn places(request: &Request) -> Places {
    let mut places = Places::from_env();
    if !request.cache_dir.is_empty() {
        places.cache = PathBuf::from(&request.cache_dir);
    }
    places
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("its message cannot be shown; the log has it")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_words() {
        for panic in [
            catch_unwind(|| panic!("plain")).unwrap_err(),
            catch_unwind(|| panic!("{}", "plain")).unwrap_err(),
        ] {
            let error = LaunchError::Panic(panic_message(panic.as_ref()));
            assert_eq!(error.to_string(), "the worker panicked: plain");
            assert_eq!(error.kind(), FailureKind::Internal);
        }
    }

    #[test]
    fn the_help_names_every_exit_code() {
        for exit in [
            Exit::Finished,
            Exit::Internal,
            Exit::Model,
            Exit::Case,
            Exit::Skipped,
            Exit::Refused,
            Exit::Abandoned,
        ] {
            assert!(
                EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)),
                "{exit:?}"
            );
        }
    }
}
