//! Promises 2 and 3: one live lease per job and machine, an epoch that fences, work that goes on.

use domain::job::JobOutcome;
use domain::record::Record;
use proto::wire::session_down::Message as Down;
use tonic::Code;

use super::fake_agent::{batch, finished, join, launch, to_do};
use super::world::{PLAN, World};

const EXPIRE: &str =
    "with touched as (update fleet.lease set expires_at = now() where state = 'live' returning 1)
     select count(*) from touched";
const LIVE: &str = "select count(*) from fleet.lease where state = 'live'";
const LASTING: &str = "select count(*) from fleet.lease
    where state = 'live' and expires_at > now() + interval '10 seconds'";
const WAITING: &str = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
const SILENT: &str = "select count(*) from report.event where detail like '%no heartbeat in time%'";
const COUNTED: &str = "select count(*) from fleet.launch where counted";

#[tokio::test]
async fn a_job_granted_again_keeps_its_finished_launches() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let first = agent.granted().await;
    assert!(first.finished.is_empty());
    let (case_key, ordinal) = to_do(&first).remove(0);
    agent
        .upload(vec![batch(&first, 0, launch(&case_key, ordinal).records())])
        .await
        .unwrap();

    // The agent falls silent: the database's clock decides.
    drop(agent);
    assert_eq!(world.number(EXPIRE).await, 1);
    world.until("the lease expires", LIVE, 0).await;

    let mut agent = machine.connect_with(&[first.lease_id]).await;
    assert!(agent.welcome.live_leases.is_empty(), "it is lost");
    agent.ready().await;
    let second = agent.granted().await;
    assert_eq!((second.job_id, second.failures), (first.job_id, 1));
    assert!(second.epoch > first.epoch);
    assert_eq!(second.finished.len(), 1);
    assert_eq!(
        (&second.finished[0].case_key, second.finished[0].ordinal),
        (&case_key, ordinal)
    );
    agent.do_job(&second).await;

    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.launches_done),
        ("succeeded", 4)
    );
    assert_eq!(world.number(COUNTED).await, 4);
}

#[tokio::test]
async fn heartbeats_that_come_together_renew_each_machines_own_lease_alone() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mut agents = Vec::new();
    for name in ["mini", "studio", "air"] {
        let machine = join(&world, &mut operator, name).await;
        agents.push(machine.connect().await);
    }
    operator.submit(PLAN).await;
    let mut leases = Vec::new();
    for agent in &mut agents {
        agent.ready().await;
        leases.push(agent.granted().await.lease_id);
    }
    let shorten = "with touched as (
            update fleet.lease set expires_at = now() + interval '5 seconds' returning 1
        ) select count(*) from touched";
    assert_eq!(world.number(shorten).await, 3);
    agents[0].heartbeat(leases[0]).await;
    agents[1].heartbeat(leases[1]).await;
    agents[2].heartbeat(leases[1]).await;
    for agent in &mut agents[..2] {
        let heard = agent.hear().await.unwrap();
        assert!(matches!(heard, Some(Down::Renewed(_))), "{heard:?}");
    }
    let heard = agents[2].hear().await.unwrap();
    let Some(Down::LeaseLost(lost)) = heard else {
        panic!("another machine's lease was renewed: {heard:?}");
    };
    assert!(
        lost.reason.contains("never granted to this machine"),
        "{lost:?}"
    );
    assert_eq!(world.number(LASTING).await, 2);
}

/// One case, as many launches as its agent finds that it needs.
const AUTO: &str = r#"
name = "auto"
[protocol]
launches = "auto"
max_launches = 20
[[model]]
source = "synthetic:nano-llama"
[suite.decode]
new_tokens = [16]
"#;

#[tokio::test]
async fn an_agent_decides_how_many_launches_make_a_case_precise() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(AUTO).await;
    agent.ready().await;
    let first = agent.granted().await;
    assert_eq!(first.protocol.precision, Some(0.01));
    let (case_key, _) = to_do(&first).remove(0);
    let one = batch(&first, 0, launch(&case_key, 5).records());
    agent.upload(vec![one]).await.unwrap();

    // Another lease learns what the launch showed: the median of its measured iterations.
    drop(agent);
    world.number(EXPIRE).await;
    world.until("the lease expires", LIVE, 0).await;
    let mut agent = machine.connect_with(&[first.lease_id]).await;
    agent.ready().await;
    let second = agent.granted().await;
    assert_eq!(second.finished[0].headline, Some(105.0));
    let more = vec![(case_key.clone(), 0), (case_key, 1)];
    agent.do_launches(&second, more).await;

    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(
        (
            ended.state.as_str(),
            ended.launches_done,
            ended.launches_total
        ),
        ("succeeded", 3, 3)
    );
}

#[tokio::test]
async fn fewer_than_the_least_launches_are_no_success() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(AUTO).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let two = to_do(&grant)[..2].to_vec();
    agent.do_launches(&grant, two).await;
    let snapshot = operator.watch(&run).await;
    assert_eq!(snapshot.jobs[0].state, "failed");
    assert!(
        snapshot.jobs[0].reason.contains("1 launches are missing"),
        "{}",
        snapshot.jobs[0].reason
    );
}

#[tokio::test]
async fn a_stale_agent_cannot_finish_a_regranted_job() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut stale = machine.connect().await;
    operator.submit(PLAN).await;
    stale.ready().await;
    let old = stale.granted().await;
    world.number(EXPIRE).await;
    world.until("the lease expires", LIVE, 0).await;
    match stale.hear().await.unwrap() {
        Some(Down::LeaseLost(lost)) => assert_eq!(lost.lease_id, old.lease_id.to_string()),
        other => panic!("not told of the loss but {other:?}"),
    }
    let mut current = machine.connect_with(&[old.lease_id]).await;
    current.ready().await;
    let new = current.granted().await;
    assert_eq!(new.job_id, old.job_id);

    // What the old lease still says is taken, and changes nothing.
    let (case_key, ordinal) = to_do(&old).remove(0);
    let mut late = launch(&case_key, ordinal).records();
    late.push(finished(JobOutcome::Failed));
    assert_eq!(
        current.upload(vec![batch(&old, 0, late)]).await.unwrap(),
        [0]
    );
    let job = "select count(*) from fleet.job where state = 'leased' and epoch = 2";
    assert_eq!(world.number(job).await, 1, "still the new lease's");
    assert_eq!(world.number(COUNTED).await, 0);
    let evidence = "select count(*) from fleet.iteration join fleet.launch using (launch_id)
                    where outcome = 'succeeded' and not counted";
    assert_eq!(world.number(evidence).await, 3, "kept");

    // Nor can it renew.
    current.heartbeat(old.lease_id).await;
    assert!(matches!(
        current.hear().await.unwrap(),
        Some(Down::LeaseLost(_))
    ));
    current.heartbeat(new.lease_id).await;
    assert!(matches!(
        current.hear().await.unwrap(),
        Some(Down::Renewed(_))
    ));
    current.do_job(&new).await;
    assert_eq!(world.number(COUNTED).await, 4);
}

#[tokio::test]
async fn two_agents_of_one_identity_never_hold_one_job() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    operator.submit(PLAN).await;
    let mut older = machine.connect().await;
    let mut newer = machine.connect().await;
    let told = older.hear().await.unwrap_err();
    assert_eq!(told.code(), Code::Aborted, "{told}");
    newer.ready().await;
    let grant = newer.granted().await;

    // A third, that asks while the second works: the lease it does not know is given up first.
    let mut third = machine.connect().await;
    assert_eq!(newer.hear().await.unwrap_err().code(), Code::Aborted);
    third.ready().await;
    let again = third.granted().await;
    assert_eq!(again.job_id, grant.job_id);
    assert_eq!(world.number(LIVE).await, 1);
    let twice = "select count(*) from (
        select 1 from fleet.event where kind in ('job_granted', 'lease_expired')
        group by kind having count(*) > 2) as too_many";
    assert_eq!(world.number(twice).await, 0);
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_live_lease() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    agent.granted().await;
    let second = sqlx::query(
        "insert into fleet.lease (lease_id, job_id, machine_id, epoch, expires_at)
         select gen_random_uuid(), job_id, machine_id, epoch + 1, now() + interval '1 hour'
         from fleet.lease",
    );
    let refused = second.execute(&world.db).await.unwrap_err().to_string();
    assert!(refused.contains("one_live_lease_per"), "{refused}");
}

#[tokio::test]
async fn the_third_lost_lease_parks_the_job_and_the_run_ends_without_it() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let run = operator.submit(PLAN).await;
    for _ in 0..3 {
        // Each time it comes back without its lease.
        let mut agent = machine.connect().await;
        agent.ready().await;
        agent.granted().await;
    }
    machine.connect().await;
    let ended = operator.watch(&run).await;
    assert_eq!(ended.run.unwrap().state, "incomplete");
    assert_eq!(ended.jobs[0].state, "parked");
    assert!(
        ended.jobs[0].reason.contains("3 launches or leases failed"),
        "{:?}",
        ended.jobs
    );
}

#[tokio::test]
async fn a_job_given_back_is_granted_again_at_once() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let first = agent.granted().await;
    let (case_key, ordinal) = to_do(&first).remove(0);
    let mut records = launch(&case_key, ordinal).records();
    records.push(finished(JobOutcome::Released));
    // Ready before the upload is taken: the release wakes the session.
    agent.ready().await;
    agent.upload(vec![batch(&first, 0, records)]).await.unwrap();
    let second = agent.granted().await;
    assert_eq!((second.finished.len(), second.failures), (1, 0));
}

#[tokio::test]
async fn an_agent_that_comes_back_with_its_lease_has_it_renewed_by_its_welcome() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    drop(agent);
    let nearly = "with touched as (update fleet.lease set expires_at = now() + interval '9 seconds'
                  returning 1) select count(*) from touched";
    world.number(nearly).await;
    assert_eq!(world.number(LASTING).await, 0);
    machine.connect_with(&[grant.lease_id]).await;
    assert_eq!(world.number(LASTING).await, 1);
}

#[tokio::test]
async fn what_the_agents_clock_says_decides_nothing() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let years = time::Duration::days(3650);
    let mut batches = Vec::new();
    for ((case_key, ordinal), jump) in to_do(&grant).iter().zip([-years, years].repeat(2)) {
        let mut records = launch(case_key, *ordinal).records();
        for record in &mut records {
            match record {
                Record::LaunchStarted(started) => started.started_at += jump,
                // It jumped back in the middle.
                Record::LaunchFinished(finished) => finished.finished_at -= jump,
                Record::Reading(reading) => reading.at += jump,
                _ => {}
            }
        }
        batches.push(batch(&grant, batches.len() as u64, records));
    }
    let last = vec![finished(JobOutcome::Succeeded)];
    batches.push(batch(&grant, batches.len() as u64, last));
    agent.upload(batches).await.unwrap();
    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.launches_done),
        ("succeeded", 4)
    );
    assert_eq!(world.number(COUNTED).await, 4);
}

#[tokio::test]
async fn a_restart_of_the_coordinator_is_a_reconnect_and_nothing_else() {
    let mut world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let launches = to_do(&grant);
    let first = batch(&grant, 0, launch(&launches[0].0, launches[0].1).records());
    agent.upload(vec![first.clone()]).await.unwrap();

    assert_eq!(
        world.down().await,
        service::lifecycle::Ending::Clean,
        "with an open stream"
    );
    assert_eq!(agent.hear().await.unwrap_err().code(), Code::Unavailable);
    // It was away for longer than a lease lives.
    assert_eq!(world.number(EXPIRE).await, 1);
    world.up().await;
    world.until("the lease lives on", LASTING, 1).await;

    let mut agent = machine.connect_with(&[grant.lease_id]).await;
    assert_eq!(agent.welcome.live_leases, [grant.lease_id.to_string()]);
    agent.heartbeat(grant.lease_id).await;
    assert!(matches!(
        agent.hear().await.unwrap(),
        Some(Down::Renewed(_))
    ));
    // What was not acknowledged, as far as the agent knows, comes again.
    let mut batches = vec![first];
    for (case_key, ordinal) in &launches[1..] {
        batches.push(batch(
            &grant,
            batches.len() as u64,
            launch(case_key, *ordinal).records(),
        ));
    }
    batches.push(batch(
        &grant,
        batches.len() as u64,
        vec![finished(JobOutcome::Succeeded)],
    ));
    assert_eq!(agent.upload(batches).await.unwrap().len(), 5);
    let ended = world.operator().await.watch(&run).await.run.unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.launches_done),
        ("succeeded", 4)
    );
    assert_eq!(world.number("select count(*) from fleet.lease").await, 1);
}

#[tokio::test]
async fn leases_do_not_expire_while_the_databases_disk_is_full() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;

    // In Postgres's own words, for all that is written of leases. A sequence forgets nothing with the
    // transaction: it counts the tries.
    let full = "
        update fleet.lease set expires_at = now();
        create sequence fleet.tries;
        create function fleet.disk_is_full() returns trigger language plpgsql as $$ begin
            perform nextval('fleet.tries');
            raise exception using errcode = 'disk_full',
                message = 'could not extend file \"base/1/2\": No space left on device';
        end $$;
        create trigger disk_is_full before update on fleet.lease
            for each statement execute function fleet.disk_is_full()";
    sqlx::raw_sql(full).execute(&world.db).await.unwrap();
    let tried = "select count(*) from fleet.tries where last_value > 3";
    world.until("it was tried again and again", tried, 1).await;
    assert_eq!(world.number(LIVE).await, 1);

    let mended = "drop trigger disk_is_full on fleet.lease";
    sqlx::raw_sql(mended).execute(&world.db).await.unwrap();
    world.until("the lease begins anew", LASTING, 1).await;
    agent.do_job(&grant).await;
    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(ended.state, "succeeded");
    assert_eq!(world.number(COUNTED).await, 4);
}

#[tokio::test]
async fn a_job_that_an_older_session_took_at_the_last_moment_is_the_newer_ones() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let older = machine.connect().await;
    operator.submit(PLAN).await;
    // A lease refers to its machine: a grant is held up in its midst.
    let mut held = world.db.begin().await.unwrap();
    sqlx::query("select from fleet.machine for update")
        .execute(&mut *held)
        .await
        .unwrap();
    older.ready().await;
    world.until("a grant under way", WAITING, 1).await;
    let release = async {
        world.until("a welcome under way", WAITING, 2).await;
        held.rollback().await.unwrap();
    };
    let (mut newer, ()) = tokio::join!(machine.connect(), release);
    newer.ready().await;
    newer.granted().await;
    assert_eq!(
        world.number(SILENT).await,
        0,
        "it did not wait for the lease's end"
    );
}
