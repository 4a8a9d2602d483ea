//! Which run goes first, and plans that come back.

use proto::wire;
use tonic::Code;

use super::fake_agent::join;
use super::world::{Operator, PLAN, World};

const RUNS: &str = "select count(*) from fleet.run";
const PASSED_OVER: &str = "select count(*) from fleet.event where kind = 'schedule_passed_over'";
const DUE: &str = "update fleet.schedule set next_at = now() - interval '3 days 1 second'";

impl Operator {
    async fn schedules(&mut self) -> Vec<wire::ScheduleRow> {
        let request = self.request(wire::ListSchedulesRequest {});
        let listed = self.client.list_schedules(request).await.unwrap();
        listed.into_inner().schedules
    }

    async fn remove_schedule(&mut self, name: &str) -> Result<(), tonic::Status> {
        let request = self.request(wire::RemoveScheduleRequest {
            name: name.to_owned(),
        });
        self.client.remove_schedule(request).await.map(drop)
    }
}

#[tokio::test]
async fn a_run_of_higher_priority_is_granted_before_an_older_one() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let low = operator.submit(&format!("priority = -1\n{PLAN}")).await;
    let usual = operator.submit(PLAN).await;
    let next = operator.submit(PLAN).await;
    let high = operator.submit(&format!("priority = 7\n{PLAN}")).await;
    let mut agent = machine.connect().await;
    for run in [high, usual, next, low] {
        agent.ready().await;
        let grant = agent.granted().await;
        assert_eq!(grant.run_id.to_string(), run);
        agent.do_job(&grant).await;
    }
}

#[tokio::test]
async fn a_plan_comes_back_once_each_time_although_two_coordinators_look() {
    let mut world = World::start().await;
    world.up_beside().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let nightly = format!("every = \"1d\"\n{PLAN}");
    let submitted = operator.try_submit(&nightly).await;
    let note = submitted.notes.iter().any(|note| {
        note == "it is submitted again every 1d, until `mlx-fleet schedule remove \"small\"`"
    });
    assert!(note, "{:?}", submitted.notes);
    let mut latest = submitted.run_id;
    for runs in 2..6 {
        operator.cancel(&latest).await;
        // Three turns were missed: there is one run for all of them.
        sqlx::query(DUE).execute(&world.db).await.unwrap();
        world.until("the plan is back", RUNS, runs).await;
        let schedule = operator.schedules().await.remove(0);
        assert_eq!(
            (schedule.name.as_str(), schedule.every_seconds),
            ("small", 86_400)
        );
        assert_eq!(
            (schedule.problem.as_str(), schedule.last_run_state.as_str()),
            ("", "active")
        );
        assert_ne!(schedule.last_run_id, latest);
        latest = schedule.last_run_id;
        let ahead = "select count(*) from fleet.schedule
                     where next_at between now() + interval '23 hours' and now() + interval '1 day'";
        assert_eq!(world.number(ahead).await, 1);
    }
    let story = operator.events(&latest).await;
    assert_eq!(story[0].actor, "schedule small");

    // The same plan again takes its place; another name stands beside it.
    operator.submit(&nightly.replace("1d", "12h")).await;
    operator.submit(&nightly.replace("small", "other")).await;
    let every: Vec<_> = operator
        .schedules()
        .await
        .into_iter()
        .map(|s| s.every_seconds)
        .collect();
    assert_eq!(every, [86_400, 43_200]);
    operator.remove_schedule("small").await.unwrap();
    let gone = operator.remove_schedule("small").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    assert_eq!(operator.schedules().await.len(), 1);
}

#[tokio::test]
async fn a_turn_is_passed_over_while_the_last_run_is_active_or_the_plan_is_refused() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let run = operator.submit(&format!("every = \"1d\"\n{PLAN}")).await;
    sqlx::query(DUE).execute(&world.db).await.unwrap();
    world.until("the turn is over", PASSED_OVER, 1).await;
    assert_eq!(world.number(RUNS).await, 1);
    let told = operator.schedules().await.remove(0).problem;
    assert_eq!(told, format!("run {run} has not ended"));

    operator.cancel(&run).await;
    let request = operator.request(wire::RevokeMachineRequest {
        machine: "mini".to_owned(),
    });
    operator.client.revoke_machine(request).await.unwrap();
    sqlx::query(DUE).execute(&world.db).await.unwrap();
    world.until("the turn is over", PASSED_OVER, 2).await;
    let told = operator.schedules().await.remove(0).problem;
    assert!(
        told.starts_with("no machine has joined this fleet yet"),
        "{told}"
    );
    assert_eq!(world.number(RUNS).await, 1);
}

#[tokio::test]
async fn a_plan_that_is_run_once_does_not_come_back() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let request = operator.request(wire::SubmitRunRequest {
        plan_toml: format!("every = \"1d\"\n{PLAN}"),
        file_name: String::new(),
        once: true,
    });
    let submitted = operator
        .client
        .submit_run(request)
        .await
        .unwrap()
        .into_inner();
    assert!(submitted.notes.iter().all(|note| !note.contains("again")));
    assert!(operator.schedules().await.is_empty());
}
