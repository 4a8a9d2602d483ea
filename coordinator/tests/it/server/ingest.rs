//! Promise 1: a sample is counted at most once, and what is acknowledged is stored.

use std::collections::BTreeSet;

use domain::job::{JobOutcome, LaunchOutcome};
use domain::record::{Reading, Record};
use time::{Duration, OffsetDateTime};
use tonic::Code;

use super::fake_agent::{batch, finished, join, launch, to_do};
use super::world::{PLAN, World};

#[tokio::test]
async fn a_batch_sent_twice_is_counted_once() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (case_key, ordinal) = to_do(&grant).remove(0);
    let once = batch(&grant, 0, launch(&case_key, ordinal).records());
    // Twice in one transaction, and again later.
    assert_eq!(
        agent
            .upload(vec![once.clone(), once.clone()])
            .await
            .unwrap(),
        [0, 0]
    );
    assert_eq!(agent.upload(vec![once]).await.unwrap(), [0]);
    assert_eq!(world.number("select count(*) from fleet.batch").await, 1);
    assert_eq!(
        world
            .number("select count(*) from fleet.launch where counted")
            .await,
        1
    );
    assert_eq!(
        world.number("select count(*) from fleet.iteration").await,
        3
    );
    assert_eq!(world.number("select count(*) from fleet.sample").await, 3);
    assert_eq!(world.number("select count(*) from fleet.reading").await, 1);
    // And summarised, of its two measured iterations.
    let median =
        "select count(*) from report.launch_summary where iterations = 2 and median >= 100";
    assert_eq!(world.number(median).await, 1);
}

#[tokio::test]
async fn what_comes_after_its_launch_has_counted_is_in_its_numbers() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (case_key, ordinal) = to_do(&grant).remove(0);
    let began = OffsetDateTime::now_utc();
    let launch = launch(&case_key, ordinal);
    let watts = |after: Duration| {
        Record::Reading(Reading {
            at: began + after,
            sensor: "gpu_power_w".to_owned(),
            value: 20.0,
        })
    };
    let mut told = launch.records();
    told.push(watts(Duration::seconds(-1)));
    agent.upload(vec![batch(&grant, 0, told)]).await.unwrap();
    let numbers = "select format('%s of %s launch', iterations, launches) from report.case_summary";
    assert_eq!(world.texts(numbers).await, ["2 of 1 launch"]);
    let energy =
        "select format('%s iterations, %s intervals', iterations, intervals) from report.energy";
    assert!(
        world.texts(energy).await.is_empty(),
        "one reading has no interval"
    );

    let late = vec![launch.iteration(3), watts(Duration::milliseconds(1500))];
    agent.upload(vec![batch(&grant, 1, late)]).await.unwrap();
    assert_eq!(world.texts(numbers).await, ["3 of 1 launch"]);
    assert_eq!(world.texts(energy).await, ["3 iterations, 3 intervals"]);
}

#[tokio::test]
async fn everything_that_a_launch_says_is_stored_as_it_was_said() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    // Each iteration has its own tokens, also after one with a different number.
    let tokens = world
        .texts("select distinct ordinal || ': ' || token_ns::text from fleet.iteration order by 1")
        .await;
    let expected = [
        "0: {1000000}",
        "1: {1000000,2000000}",
        "2: {1000000,2000000,3000000}",
    ];
    assert_eq!(tokens, expected);
    assert_eq!(world.number("select count(*) from fleet.model").await, 1);
    assert_eq!(
        world.number("select count(*) from fleet.environment").await,
        1
    );
    let launches = "select count(*) from fleet.launch join fleet.model using (model_id)
                    join fleet.environment using (environment_id)
                    where boot_id = 'boot' and seed = -1 and exit_code = 0 and steady
                    and warmup_iterations = 1 and mlx_version = '0.32.2' and counted";
    assert_eq!(world.number(launches).await, 4);
    let said = world
        .texts("select distinct stderr_tail from fleet.launch")
        .await;
    assert_eq!(said, ["said \u{fffd} this"]);
    let heat = world
        .texts(
            "select distinct concat_ws(' ', cooldown_s, canary_gemm_tflops_after,
                 canary_gemm_ratio_after, canary_stream_gbps_after, canary_stream_ratio_after,
                 trend_pct, telemetry_gap_ms_max, sensors_cost_pct, sensors_cost_pct_low,
                 sensors_cost_pct_high, throttled)
             from report.heat where canary_gemm_ratio_before is null",
        )
        .await;
    assert_eq!(heat, ["1.5 10 0.9 400 1 -0.5 1100 0.2 -0.1 0.5 f"]);
    let samples =
        world.texts("select distinct metric || ' ' || value from fleet.sample order by 1");
    assert_eq!(samples.await, ["decode_tps 100", "decode_tps 101"]);
    // 2000 bytes of weights and half of 16 or 32 new tokens of 16 bytes each; two operations for each of
    // 1000 parameters. Once for each case and rate, however many launches there were.
    let work = world.texts(
        "select case_key || ' ' || metric || ' ' || bytes || ' ' || flops
         from fleet.work where metric = 'decode_tps' order by 1",
    );
    let expected = [
        "new=16,depth=0 decode_tps 2128 2000",
        "new=32,depth=0 decode_tps 2256 2000",
    ];
    assert_eq!(work.await, expected);
}

#[tokio::test]
async fn a_refused_batch_ends_its_stream_by_name_and_costs_no_other_agent() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let good = join(&world, &mut operator, "good").await;
    let bad = join(&world, &mut operator, "bad").await;
    let (mut good, mut bad) = (good.connect().await, bad.connect().await);
    operator.submit(PLAN).await;
    good.ready().await;
    bad.ready().await;
    let (good_grant, bad_grant) = (good.granted().await, bad.granted().await);
    let (case_key, ordinal) = to_do(&good_grant).remove(0);
    let known = launch(&case_key, ordinal);
    good.upload(vec![batch(&good_grant, 0, vec![known.started()])])
        .await
        .unwrap();

    // Another machine's launch, another machine's lease, an iteration of no launch.
    for (grant, record) in [
        (&bad_grant, known.iteration(0)),
        (&bad_grant, known.finished()),
        (&good_grant, known.finished()),
        (&bad_grant, launch(&case_key, 0).iteration(0)),
    ] {
        let fine = batch(&bad_grant, 7, Vec::new());
        let refused = bad
            .upload(vec![fine, batch(grant, 8, vec![record])])
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(
            refused
                .message()
                .contains(&format!("batch 8 of lease {}", grant.lease_id))
        );
    }
    let rest = vec![known.iteration(0), known.finished()];
    assert_eq!(
        good.upload(vec![batch(&good_grant, 1, rest)])
            .await
            .unwrap(),
        [1]
    );
    assert_eq!(
        world
            .number("select count(*) from fleet.launch where counted")
            .await,
        1
    );
}

#[tokio::test]
async fn a_batch_that_fails_for_a_while_is_not_overtaken_by_those_behind_it() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let mut batches: Vec<_> = to_do(&grant)
        .iter()
        .zip(0..)
        .map(|((case_key, ordinal), seq)| batch(&grant, seq, launch(case_key, *ordinal).records()))
        .collect();
    batches.push(batch(&grant, 4, vec![finished(JobOutcome::Succeeded)]));

    // The server's disk is full each time that batch 3 comes.
    for statement in [
        "create function fleet.weary() returns trigger language plpgsql as
         $$ begin raise exception 'weary' using errcode = '53100'; end $$",
        "create trigger weary before insert on fleet.batch
         for each row when (new.seq = 3) execute function fleet.weary()",
    ] {
        sqlx::query(statement).execute(&world.db).await.unwrap();
    }
    let refused = agent.upload(batches.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(
        world.number("select count(*) from fleet.batch").await,
        3,
        "those before it alone"
    );

    sqlx::query("drop trigger weary on fleet.batch")
        .execute(&world.db)
        .await
        .unwrap();
    agent.upload(batches.split_off(3)).await.unwrap();
    let ended = operator.watch(&run).await;
    assert_eq!(ended.run.unwrap().state, "succeeded", "{:?}", ended.jobs);
}

#[tokio::test]
async fn many_agents_at_once_lose_nothing() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mut agents = Vec::new();
    for number in 0..8 {
        let machine = join(&world, &mut operator, &format!("mini{number}")).await;
        agents.push(machine.connect().await);
    }
    let run = operator.submit(PLAN).await;
    let mut working = tokio::task::JoinSet::new();
    for mut agent in agents {
        working.spawn(async move {
            agent.ready().await;
            let grant = agent.granted().await;
            agent.do_job(&grant).await;
            grant.job_id
        });
    }
    let jobs: BTreeSet<_> = working.join_all().await.into_iter().collect();
    assert_eq!(jobs.len(), 8, "no job twice");
    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.jobs_succeeded),
        ("succeeded", 8)
    );
    assert_eq!(
        world.number("select count(*) from fleet.iteration").await,
        8 * 4 * 3
    );
    let events = "select count(*) from fleet.event where kind = 'run_ended'";
    assert_eq!(world.number(events).await, 1);
}

#[tokio::test]
async fn success_without_every_launch_is_no_success() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (case_key, ordinal) = to_do(&grant).remove(0);
    let mut crashed = launch(&case_key, ordinal);
    crashed.outcome = LaunchOutcome::Crashed;
    let mut records: Vec<Record> = crashed.records();
    records.push(finished(JobOutcome::Succeeded));
    agent.upload(vec![batch(&grant, 0, records)]).await.unwrap();
    let ended = operator.watch(&run).await;
    assert_eq!(ended.run.unwrap().state, "incomplete");
    assert!(
        ended.jobs[0].reason.contains("4 launches are missing"),
        "{:?}",
        ended.jobs
    );
    assert_eq!(
        world.number("select failures::bigint from fleet.job").await,
        1
    );
}
