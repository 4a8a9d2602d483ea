//! The coordinator is killed in the middle of a run and started again: how long until every agent is back.

use anyhow::Result;

use super::simulation::{Simulation, Told};
use super::{Bench, endless_plan};

impl Bench<'_> {
    pub(super) async fn restart(&mut self, simulation: &Simulation) -> Result<()> {
        simulation.forget();
        let (run, _) = self.operator.submit(&endless_plan()).await?;
        simulation.wait(Told::Granted, self.agents)?;
        simulation.forget();
        let began = time::OffsetDateTime::now_utc();
        self.world.crash_and_restart()?;
        let listening = time::OffsetDateTime::now_utc();
        let back = simulation.wait(Told::Welcomed, self.agents)?;
        self.operator = self.world.operator().await?;
        let last = back.iter().copied().max().unwrap_or(listening);
        let handshakes = f64::from(self.agents) / self.handshakes().await?;
        let up = (listening - began).as_seconds_f64();
        let took = (last - began).as_seconds_f64();
        self.told(
            "restart, all agents back (start and handshakes)",
            took,
            "s",
            up + handshakes,
        );
        let lost = lost_leases(self, &run).await?;
        self.told(
            "restart, leases lost (agents)",
            lost,
            "",
            f64::from(self.agents),
        );
        self.operator.cancel(&run).await?;
        Ok(())
    }
}

async fn lost_leases(bench: &Bench<'_>, run: &str) -> Result<f64> {
    let mut database = bench.world.database().await?;
    let lost: i64 = sqlx::query_scalar(
        "select count(*) from fleet.lease join fleet.job using (job_id)
         where run_id = $1::uuid and lease.state = 'expired'",
    )
    .bind(run)
    .fetch_one(&mut database)
    .await?;
    Ok(lost as f64)
}
