//! What happens without being asked: leases expire, plans come back, notifications are passed on. Each is
//! one task; the database going away and coming back is their normal weather.

use std::sync::Arc;
use std::time::Duration;

use service::lifecycle::Stop;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Dispatch, Error, Result};
use crate::store;
use crate::store::wake::{Listener, Wake};

/// A lease lives this much longer than promised at most.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// A plan is submitted so much later than it is due at most.
const LOOK_AT_SCHEDULES_EVERY: Duration = Duration::from_secs(1);
/// Between two looks; a longer one means that we, or the database, stood still.
const GAP: Duration = Duration::from_secs(5);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// Called when the database cannot be reached; a private server is started again by it.
pub type Mend = Arc<dyn Fn() + Send + Sync>;

/// Reaps until the stop. Whenever nobody could renew, because this process, its machine or the database was
/// away, agents first get the time to come back.
pub async fn reap(dispatch: Dispatch, mend: Mend, stop: Stop) {
    let mut ticks = interval(REAP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.soft() => return,
        }
        match look(&dispatch, last).await {
            Ok(now) => last = Some(now),
            Err(Error::Store(error)) if error.lost_connection() => {
                last = None;
                tracing::warn!(%error, "the database cannot be reached");
                let mend = Arc::clone(&mend);
                // It may take as long as a recovery; a panic in it is logged by the runtime.
                drop(tokio::task::spawn_blocking(move || mend()).await);
            }
            Err(error) => {
                last = None;
                tracing::warn!(%error, "leases were not reaped");
            }
        }
    }
}

/// Submits plans whose time has come, until the stop.
pub async fn schedule(dispatch: Dispatch, stop: Stop) {
    let mut ticks = interval(LOOK_AT_SCHEDULES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.soft() => return,
        }
        match dispatch.submit_due().await {
            Ok(()) => {}
            // The reaper tells of it.
            Err(Error::Store(error)) if error.lost_connection() => {}
            Err(error) => tracing::warn!(%error, "schedules were not looked at"),
        }
    }
}

/// `last`: when the database was last looked at, by its own clock; None after a failure. The time of this
/// look.
async fn look(dispatch: &Dispatch, last: Option<OffsetDateTime>) -> Result<OffsetDateTime> {
    let now = dispatch.database_time().await?;
    if last.is_some_and(|last| now - last <= GAP) {
        dispatch.reap().await?;
    } else {
        let spared = dispatch.spare().await?;
        tracing::info!(
            leases = spared,
            "live leases begin anew: nobody could renew them"
        );
    }
    Ok(now)
}

/// Passes notifications on until the stop.
pub async fn listen(dispatch: Dispatch, pool: store::Pool, stop: Stop) {
    loop {
        tokio::select! {
            error = listen_while_connected(&dispatch, &pool) => {
                tracing::warn!(%error, "notifications are interrupted");
            }
            () = stop.soft() => return,
        }
        tokio::select! {
            () = sleep(RECONNECT_AFTER) => {}
            () = stop.soft() => return,
        }
    }
}

async fn listen_while_connected(dispatch: &Dispatch, pool: &store::Pool) -> store::Error {
    let mut listener = match Listener::connect(pool).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    // Whatever happened before this moment was not heard.
    dispatch.hub().tell(Wake::Everything);
    loop {
        match listener.next().await {
            Ok(wake) => dispatch.hub().tell(wake),
            Err(error) => return error,
        }
    }
}
