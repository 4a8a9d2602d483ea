//! Following a run: its whole state at once, then after each change what is new, until it has ended.

use std::time::Duration;

use domain::ids::RunId;
use domain::job::RunState;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{sleep, timeout};

use super::hub::Changed;
use super::{Dispatch, Error, Result};
use crate::store::{job, run};

/// Changes within this time are told together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Looks without being told this often: a notification may be lost with a connection.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub run: run::Summary,
    /// All of them in the first, then those that changed.
    pub jobs: Vec<job::Summary>,
}

/// A watcher's place in the run's story.
pub struct Watch {
    dispatch: Dispatch,
    run_id: RunId,
    changes: broadcast::Receiver<Changed>,
    next: Next,
    /// The jobs as they were told last; their order does not change.
    told: Vec<job::Summary>,
}

enum Next {
    First,
    AfterChange,
    Over,
}

impl Dispatch {
    pub async fn watch(&self, run: &str) -> Result<Watch> {
        // Before the first look, so that nothing falls between.
        let changes = self.hub.runs();
        Ok(Watch {
            run_id: self.find_run(run).await?,
            dispatch: self.clone(),
            changes,
            next: Next::First,
            told: Vec::new(),
        })
    }

    pub async fn snapshot(&self, run_id: RunId) -> Result<Snapshot> {
        // The run before its jobs: then a run that has ended shows how all its jobs did.
        let run = run::summaries(&self.pool, Some(run_id), 1)
            .await?
            .pop()
            .ok_or_else(|| Error::NotFound {
                noun: "run",
                name: run_id.to_string(),
                help: "",
            })?;
        let jobs = job::summaries(&self.pool, run_id).await?;
        Ok(Snapshot { run, jobs })
    }
}

impl Watch {
    /// None after the snapshot of the ended run.
    pub async fn next(&mut self) -> Result<Option<Snapshot>> {
        match self.next {
            Next::First => {}
            Next::AfterChange => self.changed().await,
            Next::Over => return Ok(None),
        }
        let mut snapshot = self.dispatch.snapshot(self.run_id).await?;
        self.next = match snapshot.run.state {
            RunState::Active => Next::AfterChange,
            RunState::Succeeded | RunState::Incomplete | RunState::Cancelled => Next::Over,
        };
        let told = std::mem::replace(&mut self.told, snapshot.jobs.clone());
        let mut told = told.iter();
        snapshot.jobs.retain(|job| told.next() != Some(job));
        Ok(Some(snapshot))
    }

    async fn changed(&mut self) {
        // An elapsed timeout is a reason to look, too.
        let _ = timeout(LOOK_ANYWAY, async {
            loop {
                match self.changes.recv().await {
                    Ok(Changed::Run(run_id)) if run_id != self.run_id => {}
                    Ok(Changed::Run(_) | Changed::Everything) | Err(RecvError::Lagged(_)) => break,
                    // The process ends; the stream is told by its own means.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        })
        .await;
        sleep(DEBOUNCE).await;
        self.changes = self.changes.resubscribe();
    }
}
