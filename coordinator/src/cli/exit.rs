//! How a command ends: the exit codes of `mlx-fleet --help`, and the words for people.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

use super::show;

/// A run's ending that is no error of the command.
pub const JOBS_FAILED: u8 = 4;
pub const JOBS_SKIPPED: u8 = 5;
pub const INTERRUPTED: u8 = 130;

/// Why a command could not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something broke here.
    Broke(String),
    /// The input was refused; the text says what, where and how to mend it.
    Refused(String),
    /// Already told on standard error, for example problems of a plan.
    Told,
    /// The coordinator could not be reached, or refused the token.
    Unreachable(String),
    Interrupted,
    /// Whoever read our answer wants no more of it, as `head` does.
    ReaderGone,
}

impl Failure {
    pub fn broke(error: impl Display) -> Self {
        Self::Broke(error.to_string())
    }

    /// A chain of sources, on one line.
    pub fn chain(error: &dyn std::error::Error) -> Self {
        Self::Broke(chain(error))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Broke(_) => 1,
            Self::Refused(_) | Self::Told => 3,
            Self::Unreachable(_) => 6,
            Self::Interrupted => INTERRUPTED,
            Self::ReaderGone => 0,
        }
    }

    pub fn tell(self) -> ExitCode {
        match &self {
            Self::Broke(text) | Self::Refused(text) | Self::Unreachable(text) => {
                show::note(format_args!("mlx-fleet: {text}"));
            }
            Self::Told | Self::Interrupted | Self::ReaderGone => {}
        }
        ExitCode::from(self.code())
    }
}

/// An error with its sources, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::broke(error),
        }
    }
}

/// Whether the link broke before an answer came. tonic calls a connection that ends in the midst of one
/// `Unknown`, and keeps the transport's error as its source, which an answer never has.
pub fn lost_link(status: &tonic::Status) -> bool {
    match status.code() {
        tonic::Code::Unavailable => true,
        tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled => {
            status.source().is_some()
        }
        _ => false,
    }
}

/// What the coordinator answered instead of a result.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        if lost_link(&status) {
            let why = service::tls::explain(&status);
            return Self::Unreachable(format!("the coordinator cannot be reached: {why}"));
        }
        let text = status.message().to_owned();
        match status.code() {
            tonic::Code::InvalidArgument
            | tonic::Code::NotFound
            | tonic::Code::FailedPrecondition
            | tonic::Code::AlreadyExists
            | tonic::Code::OutOfRange
            | tonic::Code::ResourceExhausted => Self::Refused(text),
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
                Self::Unreachable(format!("the coordinator refused: {text}"))
            }
            tonic::Code::DeadlineExceeded => {
                Self::Unreachable(format!("the coordinator cannot be reached: {text}"))
            }
            _ => Self::Broke(format!("the coordinator answered: {text}")),
        }
    }
}
