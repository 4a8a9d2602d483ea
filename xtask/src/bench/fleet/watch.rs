//! A run of the whole fleet with a hundred watchers, and with one.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use proto::wire;
use time::OffsetDateTime;
use tonic::Streaming;

use super::simulation::{Simulation, Told};
use super::{Bench, endless_plan, percentile};

const WATCHERS: usize = 100;

impl Bench<'_> {
    pub(super) async fn watchers(&mut self, simulation: &Simulation) -> Result<()> {
        let (mut one, alone) = self.watched_by(simulation, 1).await?;
        let (mut all, load) = self.watched_by(simulation, WATCHERS).await?;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (value, reference) = (percentile(&mut all, share), percentile(&mut one, share));
            let what = format!("run's end to {WATCHERS} watchers, {name} (to one)");
            self.told(&what, value, "ms", reference);
        }
        let what = format!("coordinator CPU with {WATCHERS} watchers (with one)");
        self.told(
            &what,
            100.0 * load.coordinator,
            "%",
            100.0 * alone.coordinator,
        );
        let what = format!("Postgres CPU with {WATCHERS} watchers (with one)");
        self.told(&what, 100.0 * load.postgres, "%", 100.0 * alone.postgres);
        let what = format!("coordinator PSS with {WATCHERS} watchers (with one)");
        self.told(&what, load.pss_mb, "MB", alone.pss_mb);
        Ok(())
    }

    /// From the end of a run to the last word of each watcher, and what watching took before.
    async fn watched_by(
        &self,
        simulation: &Simulation,
        watchers: usize,
    ) -> Result<(Vec<f64>, super::world::Load)> {
        simulation.forget();
        let (run, _) = self.operator.submit(&endless_plan()).await?;
        let streams = (0..watchers).map(|_| self.operator.watch(&run));
        let streams = try_join_all(streams).await?;
        simulation.wait(Told::Granted, self.agents)?;
        let watching = try_join_all(streams.into_iter().map(end_of));
        let ending = async {
            let load = self.world.load(simulation.pid(), self.seconds()).await?;
            self.operator.cancel(&run).await?;
            anyhow::Ok(load)
        };
        let (heard, load) = tokio::try_join!(watching, ending)?;
        // The machines give their leases up before another run is for them.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((heard, load))
    }
}

async fn end_of(mut snapshots: Streaming<wire::RunSnapshot>) -> Result<f64> {
    let mut ended_us = None;
    while let Some(snapshot) = snapshots.message().await? {
        ended_us = snapshot.run.and_then(|run| run.ended_unix_us);
        if ended_us.is_some() {
            break;
        }
    }
    let ended_us = ended_us.context("the run has no end")?;
    let now_us = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
    Ok((now_us - i128::from(ended_us)) as f64 / 1e3)
}
