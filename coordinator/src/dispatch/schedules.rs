//! Plans that come back: submitted with `every`, they are submitted again by whichever coordinator sees
//! first that it is time. The schedule's row is locked while its run is made and moved on in the same
//! transaction, so that there is one run for a turn, however many coordinators serve the database.
//!
//! ```text
//!            its time has come ──▶ a run of it is still active ──▶ this turn is passed over
//!                                  the plan is refused ──────────▶ this turn is passed over, with why
//!                                  else ─────────────────────────▶ a run
//! ```
//!
//! Turns that nobody saw, because no coordinator was there, are not made up for.

use std::time::Duration;

use domain::ids::ScheduleId;
use domain::plan::{Plan, period};

use super::changes::Changes;
use super::runs::{self, Submitted, Written};
use super::{Dispatch, Error, Result, chain};
use crate::store::event::{Event, Kind};
use crate::store::schedule::{self, Due, Summary};
use crate::store::{self, run};

impl Dispatch {
    /// Those that go on, by name.
    pub async fn list_schedules(&self) -> Result<Vec<Summary>> {
        Ok(schedule::summaries(&self.pool).await?)
    }

    /// Runs that there are stay as they are.
    pub async fn remove_schedule(&self, name: &str, actor: &str) -> Result<()> {
        let mut tx = store::begin(&self.pool).await?;
        if !schedule::end(&mut *tx, name).await? {
            return Err(Error::NotFound {
                noun: "schedule",
                name: name.to_owned(),
                help: ": `mlx-fleet schedule list` shows them",
            });
        }
        let mut changes = Changes::by(actor);
        changes.events.push(Event::new(Kind::ScheduleRemoved, name));
        changes.commit(tx).await?;
        tracing::info!(schedule = name, "removed");
        Ok(())
    }

    /// Gives every schedule its turn whose time has come.
    pub async fn submit_due(&self) -> Result<()> {
        loop {
            let mut tx = store::begin(&self.pool).await?;
            let Some(due) = schedule::take_due(&mut *tx).await? else {
                return Ok(());
            };
            match take_turn(tx, &due).await {
                Ok(()) => {}
                Err(Error::Store(error)) if error.lost_connection() || error.is_transient() => {
                    return Err(error.into());
                }
                // It would fail alike each second, and stand before all others.
                Err(error) => {
                    tracing::error!(schedule = due.name, error = chain(&error), "no run");
                    let tx = store::begin(&self.pool).await?;
                    pass_over(tx, &due, &error.to_string()).await?;
                }
            }
        }
    }
}

async fn take_turn(mut tx: store::Tx, due: &Due) -> Result<()> {
    let Due {
        schedule_id,
        name,
        file_name,
        toml,
    } = due;
    if let Some(active) = schedule::active_run(&mut *tx, *schedule_id).await? {
        return pass_over(tx, due, &format!("run {active} has not ended")).await;
    }
    let plan = match Plan::parse(toml) {
        Ok(plan) => plan,
        Err(problems) => {
            let why = problems.iter().map(|problem| problem.message.as_str());
            return pass_over(tx, due, &why.collect::<Vec<_>>().join("; ")).await;
        }
    };
    let mut changes = Changes::by(&format!("schedule {name}"));
    let written = Written {
        plan: &plan,
        toml,
        file_name,
        schedule_id: Some(*schedule_id),
    };
    match runs::insert(&mut tx, &written, &mut changes).await? {
        Submitted::Run { .. } => {
            schedule::advance(&mut *tx, *schedule_id, "").await?;
            Ok(changes.commit(tx).await?)
        }
        Submitted::Refused(problems) => {
            let why = problems.into_iter().map(|problem| match problem.help {
                Some(help) => format!("{}: {help}", problem.message),
                None => problem.message,
            });
            pass_over(tx, due, &why.collect::<Vec<_>>().join("; ")).await
        }
    }
}

async fn pass_over(mut tx: store::Tx, due: &Due, why: &str) -> Result<()> {
    let Due {
        schedule_id, name, ..
    } = due;
    schedule::advance(&mut *tx, *schedule_id, why).await?;
    let mut changes = Changes::by(&format!("schedule {name}"));
    changes
        .events
        .push(Event::new(Kind::SchedulePassedOver, why));
    changes.commit(tx).await?;
    tracing::warn!(schedule = name, why, "no run this time");
    Ok(())
}

/// The schedule that a plan asks for, in the place of an earlier one of its name.
pub(super) async fn replace(
    tx: &mut store::Tx,
    plan: &Plan,
    toml: &str,
    file_name: &str,
    changes: &mut Changes,
) -> Result<Option<ScheduleId>> {
    let Some(every) = plan.every else {
        return Ok(None);
    };
    let schedule_id = ScheduleId::new();
    let plan_id = run::put_plan(&mut **tx, &plan.name, &runs::sha256(toml), toml).await?;
    schedule::end(&mut **tx, &plan.name).await?;
    let new = schedule::New {
        schedule_id,
        plan_id,
        name: &plan.name,
        file_name,
        every_seconds: every.as_secs(),
        created_by: &changes.actor,
    };
    schedule::insert(&mut **tx, &new).await?;
    let detail = format!("{} every {}", plan.name, period(every));
    changes.events.push(Event::new(Kind::ScheduleSet, detail));
    Ok(Some(schedule_id))
}

/// What else its submission does.
pub(super) fn note(plan: &Plan) -> Option<String> {
    let every: Duration = plan.every?;
    Some(format!(
        "it is submitted again every {}, until `mlx-fleet schedule remove \"{}\"`",
        period(every),
        plan.name
    ))
}
