//! In which order frames may come.
//!
//! ```text
//!   Fresh ──Started──▶ Started ──Model──▶ Measuring ──Finished──▶ over
//!                         └─ Iteration ─┘     └─ Iteration          Failed ends every state
//! ```

use domain::suite::Subject;
use domain::worker::{Failed, Finished, Frame};

#[derive(Clone, Debug)]
pub struct Conversation {
    started: bool,
    /// Told, or not to be told.
    model: bool,
    end: Option<Last>,
}

/// The worker's last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    Finished(Finished),
    Failed(Failed),
    /// None yet; where the worker stood.
    Open(&'static str),
}

impl Last {
    /// Where the worker stood, for people.
    pub fn place(&self) -> &'static str {
        match self {
            Self::Finished(_) | Self::Failed(_) => "after its last frame",
            Self::Open(place) => place,
        }
    }
}

impl Conversation {
    /// A worker that measures the machine alone has no model to tell of.
    pub fn about(subject: Subject) -> Self {
        Self {
            started: false,
            model: subject == Subject::Machine,
            end: None,
        }
    }

    /// Takes the next frame, or says why it cannot stand here.
    pub fn accept(&mut self, frame: &Frame) -> Result<(), String> {
        let refuse = |name: &str, why: &str| Err(format!("the worker sent {name} {why}"));
        if self.end.is_some() {
            return refuse("a frame", "after its last one");
        }
        match frame {
            Frame::Started(_) if self.started => refuse("Started", "twice"),
            Frame::Started(_) => {
                self.started = true;
                Ok(())
            }
            Frame::Failed(failed) => {
                self.end = Some(Last::Failed(failed.clone()));
                Ok(())
            }
            Frame::Model(_) | Frame::Iteration(_) | Frame::Finished(_) if !self.started => {
                refuse("a frame", "before Started")
            }
            Frame::Model(_) if self.model => refuse("Model", "twice, or without having one"),
            Frame::Model(_) => {
                self.model = true;
                Ok(())
            }
            Frame::Iteration(_) => Ok(()),
            Frame::Finished(_) if !self.model => refuse("Finished", "before Model"),
            Frame::Finished(finished) => {
                self.end = Some(Last::Finished(*finished));
                Ok(())
            }
        }
    }

    pub fn last(&self) -> Last {
        match (&self.end, self.started, self.model) {
            (Some(end), ..) => end.clone(),
            (None, false, _) => Last::Open("before its first frame"),
            (None, true, false) => Last::Open("while it loaded the model"),
            (None, true, true) => Last::Open("while it measured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::worker::{FailureKind, Started};

    use super::*;

    const FINISHED: Frame = Frame::Finished(Finished {
        steady: true,
        warmup_iterations: 1,
    });

    fn failed() -> Frame {
        Frame::Failed(Failed {
            kind: FailureKind::Internal,
            message: "x".into(),
        })
    }

    fn after(frames: &[Frame], next: &Frame) -> Result<(), String> {
        let mut talk = Conversation::about(Subject::Model);
        for frame in frames {
            talk.accept(frame).unwrap();
        }
        talk.accept(next)
    }

    #[test]
    fn frames_out_of_order_are_named() {
        let started = || Frame::Started(Started::default());
        assert!(
            after(&[], &FINISHED)
                .unwrap_err()
                .contains("before Started")
        );
        assert!(
            after(&[started()], &started())
                .unwrap_err()
                .contains("twice")
        );
        assert!(
            after(&[started()], &FINISHED)
                .unwrap_err()
                .contains("before Model")
        );
        assert!(after(&[failed()], &failed()).unwrap_err().contains("last"));
        after(&[], &failed()).unwrap();
        after(&[started()], &failed()).unwrap();
    }
}
