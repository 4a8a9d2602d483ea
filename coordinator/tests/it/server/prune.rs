//! Runs that are deleted take all that is theirs with them, and nothing else.

use proto::wire;
use tonic::{Code, Status};

use super::fake_agent::join;
use super::world::{Operator, PLAN, World, soon};

/// The rows of every table that holds something of a run.
const ROWS: &str = "select concat_ws(' ',
    (select count(*) from fleet.run), (select count(*) from fleet.plan),
    (select count(*) from fleet.job), (select count(*) from fleet.exclusion),
    (select count(*) from fleet.lease), (select count(*) from fleet.batch),
    (select count(*) from fleet.launch), (select count(*) from fleet.launch_metric),
    (select count(*) from fleet.launch_region), (select count(*) from fleet.launch_power),
    (select count(*) from fleet.measured_case), (select count(*) from fleet.case_metric),
    (select count(*) from fleet.heat), (select count(*) from fleet.iteration),
    (select count(*) from fleet.sample), (select count(*) from fleet.reading),
    (select count(*) from fleet.event where run_id is not null))";

/// Kept medians are what the samples say.
const STALE: &str = "select count(*)
    from fleet.launch_metric as kept
    full join (
        select launch_id, metric, percentile_cont(0.5) within group (order by value) as median
        from fleet.iteration
        join fleet.sample using (iteration_id)
        join fleet.launch using (launch_id)
        where phase = 'measured' and counted
        group by launch_id, metric
    ) as measured using (launch_id, metric)
    where kept.median is distinct from measured.median";

impl Operator {
    async fn delete(
        &mut self,
        run: &str,
        older_than_days: u64,
        dry_run: bool,
    ) -> Result<Vec<wire::DeletedRun>, Status> {
        let request = self.request(wire::DeleteRunsRequest {
            run: run.to_owned(),
            older_than_seconds: older_than_days * 86_400,
            dry_run,
        });
        let mut answer = self.client.delete_runs(request).await?.into_inner();
        let mut deleted = Vec::new();
        while let Some(run) = soon("a deleted run", answer.message()).await? {
            deleted.push(run);
        }
        Ok(deleted)
    }
}

#[tokio::test]
async fn old_runs_are_pruned_with_every_row_and_active_and_young_ones_stay() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let nobody = format!("{PLAN}\n[machines]\nmin_memory_gb = 64");
    let young = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    let rows = world.texts(ROWS).await;
    let old = operator.submit(&nobody).await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    let active = operator.submit(PLAN).await;
    let age = "update fleet.run set submitted_at = now() - interval '200 days',
               ended_at = case when state <> 'active' then now() - interval '190 days' end
               where run_id::text = any($1)";
    sqlx::query(age)
        .bind([old.clone(), active.clone()].as_slice())
        .execute(&world.db)
        .await
        .unwrap();
    let all = world.texts(ROWS).await;

    assert!(operator.delete("", 195, false).await.unwrap().is_empty());
    let found = operator.delete("", 180, true).await.unwrap();
    assert_eq!(found.len(), 1);
    // Four launches of three iterations, one sample in each.
    let counts = (
        found[0].jobs,
        found[0].launches,
        found[0].samples,
        found[0].readings,
    );
    assert_eq!(
        (found[0].run_id.as_str(), counts),
        (old.as_str(), (1, 4, 12, 4))
    );
    assert_eq!(world.texts(ROWS).await, all, "a dry run deletes nothing");

    assert_eq!(operator.delete("", 180, false).await.unwrap(), found);
    operator.cancel(&active).await;
    assert_eq!(operator.delete(&active, 0, false).await.unwrap().len(), 1);
    assert_eq!(world.texts(ROWS).await, rows, "as if they had never been");
    assert_eq!(world.number(STALE).await, 0);
    assert_eq!(operator.watch(&young).await.run.unwrap().launches_done, 4);
    let story = operator.events("").await;
    let told: Vec<_> = story.iter().filter(|e| e.kind == "run_deleted").collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].detail.starts_with(&old) && told[0].actor.starts_with("data folder"));
}

#[tokio::test]
async fn an_active_run_is_never_deleted_and_yesterdays_not_by_age() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let run = operator.submit(PLAN).await;
    let refused = operator.delete(&run, 0, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let refused = operator.delete("", 0, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(operator.watch_once(&run).await.state, "active");
}

#[tokio::test]
async fn an_import_is_deleted_by_name_alone_and_its_machines_go_with_it() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let empty = world.texts(ROWS).await;
    let request = operator.request(wire::ImportRunRequest {
        text: include_str!("../../../../data/seed.csv").to_owned(),
        file_name: "seed.csv".to_owned(),
        ..Default::default()
    });
    let imported = operator
        .client
        .import_run(request)
        .await
        .unwrap()
        .into_inner();
    assert!(imported.problems.is_empty(), "{:?}", imported.problems);
    let age = "update fleet.run set ended_at = now() - interval '9 years'";
    sqlx::query(age).execute(&world.db).await.unwrap();
    assert!(operator.delete("", 180, false).await.unwrap().is_empty());
    let deleted = operator.delete(&imported.run_id, 0, false).await.unwrap();
    assert!(deleted[0].samples > 0);
    assert_eq!(world.texts(ROWS).await, empty);
    assert_eq!(world.number("select count(*) from fleet.machine").await, 0);
}
