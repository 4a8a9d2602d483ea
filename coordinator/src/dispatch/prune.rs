//! Runs that are deleted, one transaction each: with all their rows, or not at all. An active run never
//! is.

use std::time::Duration;

use domain::ids::RunId;
use domain::job::RunState;

use super::changes::Changes;
use super::{Dispatch, Error, Result};
use crate::store;
use crate::store::event::{Event, Kind};
use crate::store::prune::{self, Holding};

/// A slip of a unit should not take what was measured yesterday.
const YOUNGEST: Duration = Duration::from_hours(24);

impl Dispatch {
    /// Runs that ended so long ago, the oldest first.
    pub async fn ended_before(&self, older_than: Duration) -> Result<Vec<RunId>> {
        if older_than < YOUNGEST {
            return Err(Error::Invalid(
                "only runs that ended a day ago or earlier are pruned; `mlx-fleet delete RUN` takes a \
                 younger one"
                    .to_owned(),
            ));
        }
        Ok(prune::ended_before(&self.pool, older_than.as_secs_f64()).await?)
    }

    /// Deletes a run that has ended, or with `dry_run` only says what it holds. None where it is gone.
    pub async fn delete_run(
        &self,
        run_id: RunId,
        dry_run: bool,
        actor: &str,
    ) -> Result<Option<Holding>> {
        let mut tx = store::begin(&self.pool).await?;
        let Some(holding) = prune::lock(&mut tx, run_id).await? else {
            return Ok(None);
        };
        if holding.state == RunState::Active {
            return Err(Error::Precondition(format!(
                "run {run_id} is active: `mlx-fleet cancel {run_id}` ends it first"
            )));
        }
        if dry_run {
            return Ok(Some(holding));
        }
        prune::delete(&mut tx, run_id).await?;
        let Holding {
            plan,
            jobs,
            launches,
            samples,
            ..
        } = &holding;
        let detail =
            format!("{run_id} ({plan}): {jobs} jobs, {launches} launches, {samples} samples");
        tracing::info!(%run_id, plan, jobs, launches, samples, "deleted");
        let mut changes = Changes::by(actor);
        changes.events.push(Event::new(Kind::RunDeleted, detail));
        changes.commit(tx).await?;
        Ok(Some(holding))
    }
}
