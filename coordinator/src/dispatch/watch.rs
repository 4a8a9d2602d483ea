//! Following a run: its whole state at once, then after each change what is new, until it has ended.
//!
//! Watchers of one run share what is read: after a change the first of them looks, and whoever wanted to
//! look before that look began takes what it saw.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::ids::RunId;
use domain::job::RunState;
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::hub::{self, Changed};
use super::{Dispatch, Error, Result};
use crate::store::{self, case, job, run};

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

/// The runs that are watched in this process.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<RunId, Weak<Look>>>);

/// What the watchers of one run have seen.
#[derive(Default)]
struct Look {
    /// Looks that were begun; each has its number.
    begun: AtomicU64,
    last: tokio::sync::Mutex<Option<(u64, Arc<Snapshot>)>>,
}

/// A watcher's place in the run's story.
pub struct Watch {
    dispatch: Dispatch,
    run_id: RunId,
    changes: broadcast::Receiver<Changed>,
    next: Next,
    look: Arc<Look>,
    /// The looks that were begun when it last wanted one: they may have missed what it heard of.
    too_old: u64,
    /// What it was told last; the order of jobs does not change.
    told: Option<Arc<Snapshot>>,
}

enum Next {
    First,
    AfterChange,
    Over,
}

impl Looks {
    fn of(&self, run_id: RunId) -> Arc<Look> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = all.get(&run_id).and_then(Weak::upgrade) {
            return look;
        }
        all.retain(|_, look| look.strong_count() > 0);
        let look = Arc::default();
        all.insert(run_id, Arc::downgrade(&look));
        look
    }
}

impl Look {
    /// The run as a look saw it that was begun after those.
    async fn after(
        &self,
        too_old: u64,
        pool: &store::Pool,
        run_id: RunId,
    ) -> Result<Arc<Snapshot>> {
        let mut last = self.last.lock().await;
        if let Some((number, snapshot)) = &*last
            && *number > too_old
        {
            return Ok(Arc::clone(snapshot));
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let snapshot = Arc::new(snapshot(pool, run_id).await?);
        *last = Some((number, Arc::clone(&snapshot)));
        Ok(snapshot)
    }
}

async fn snapshot(pool: &store::Pool, run_id: RunId) -> Result<Snapshot> {
    // The run before its jobs: then a run that has ended shows how all its jobs did.
    let run = run::summaries(pool, &run::Wanted::one(run_id), 1)
        .await?
        .pop()
        .ok_or_else(|| Error::NotFound {
            noun: "run",
            name: run_id.to_string(),
            help: "",
        })?;
    let jobs = job::summaries(pool, run_id).await?;
    Ok(Snapshot { run, jobs })
}

impl Dispatch {
    /// A run as it is, with all its jobs.
    pub async fn run(&self, run_id: RunId) -> Result<(run::Summary, Vec<job::Summary>)> {
        let Snapshot { run, jobs } = snapshot(&self.pool, run_id).await?;
        Ok((run, jobs))
    }

    /// The numbers that its plan puts first, so far: the first of them, and how many there are.
    pub async fn headlines(
        &self,
        run_id: RunId,
        limit: usize,
    ) -> Result<(Vec<case::Headline>, usize)> {
        Ok(case::headlines(&self.pool, run_id, limit).await?)
    }

    /// The suites that somebody measured.
    pub async fn measured_suites(&self) -> Result<Vec<String>> {
        Ok(case::suites(&self.pool).await?)
    }

    /// What cases of a suite can be chosen by: metric, model, chip, precision, machine, label.
    pub async fn case_choices(&self, suite: &str) -> Result<BTreeMap<String, Vec<String>>> {
        Ok(case::choices(&self.pool, suite).await?)
    }

    pub async fn watch(&self, run: &str) -> Result<Watch> {
        // Before the first look, so that nothing falls between.
        let changes = self.hub.runs();
        let run_id = self.find_run(run).await?;
        let look = self.looks.of(run_id);
        Ok(Watch {
            run_id,
            dispatch: self.clone(),
            changes,
            next: Next::First,
            too_old: look.begun.load(Ordering::SeqCst),
            look,
            told: None,
        })
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
        let pool = &self.dispatch.pool;
        let seen = self.look.after(self.too_old, pool, self.run_id).await?;
        self.next = match seen.run.state {
            RunState::Active => Next::AfterChange,
            RunState::Succeeded | RunState::Incomplete | RunState::Cancelled => Next::Over,
        };
        let told = self.told.replace(Arc::clone(&seen));
        let mut told = told.iter().flat_map(|told| &told.jobs);
        let jobs = seen.jobs.iter().filter(|job| told.next() != Some(*job));
        Ok(Some(Snapshot {
            run: seen.run.clone(),
            jobs: jobs.cloned().collect(),
        }))
    }

    async fn changed(&mut self) {
        // An elapsed timeout is a reason to look, too.
        let run_id = self.run_id;
        let mine =
            |changed| matches!(changed, Changed::Everything) || changed == Changed::Run(run_id);
        let _ = timeout(LOOK_ANYWAY, hub::heard(&mut self.changes, mine)).await;
        sleep(DEBOUNCE).await;
        self.changes = self.changes.resubscribe();
        // What is heard no more is seen by a look that begins from now on.
        self.too_old = self.look.begun.load(Ordering::SeqCst);
    }
}
