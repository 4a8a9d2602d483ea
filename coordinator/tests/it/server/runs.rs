//! Runs from submission to their end, as operators see them.

use std::time::Duration;

use domain::job::JobOutcome;
use proto::wire;
use proto::wire::session_down::Message as Down;
use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

use super::fake_agent::{batch, finished, join, launch, to_do};
use super::world::{Operator, PLAN, World, soon};

#[tokio::test]
async fn a_run_is_watched_from_its_submission_to_its_end() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    agent.ready().await;
    let run = operator.submit(PLAN).await;

    let request = operator.request(wire::WatchRunRequest {
        run: run[..8].to_owned(),
    });
    let mut snapshots = operator
        .client
        .watch_run(request)
        .await
        .unwrap()
        .into_inner();
    let first = soon("a snapshot", snapshots.message())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.run.as_ref().unwrap().state, "active");
    assert_eq!(first.jobs.len(), 1);
    assert_eq!(
        (first.jobs[0].machine.as_str(), first.jobs[0].suite.as_str()),
        ("mini", "decode")
    );

    // An agent that was ready before the submission is given the job without asking again.
    let grant = agent.granted().await;
    assert_eq!(grant.run_id.to_string(), run);
    assert_eq!(grant.cases.len(), 2);
    assert_eq!((grant.protocol.launches, grant.protocol.seed), (2, 42));
    agent.do_job(&grant).await;
    let mut last = first;
    while let Some(next) = soon("a snapshot", snapshots.message()).await.unwrap() {
        last = next;
    }
    let ended = last.run.unwrap();
    assert_eq!(ended.state, "succeeded");
    assert_eq!((ended.launches_done, ended.launches_total), (4, 4));
    assert!(ended.ended_unix_us.unwrap() > ended.submitted_unix_us);
    assert_eq!(last.jobs[0].state, "succeeded");

    let request = operator.request(wire::ListRunsRequest { limit: 5 });
    let runs = operator
        .client
        .list_runs(request)
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert_eq!(runs, [ended]);
    let states = "select count(*) from report.run where state = 'succeeded' and jobs_succeeded = 1";
    assert_eq!(world.number(states).await, 1, "and the views agree");
}

#[tokio::test]
async fn a_watcher_is_told_all_jobs_once_and_then_those_that_changed() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let one = join(&world, &mut operator, "one").await;
    join(&world, &mut operator, "two").await;
    let run = operator.submit(PLAN).await;
    let request = operator.request(wire::WatchRunRequest { run });
    let mut news = operator
        .client
        .watch_run(request)
        .await
        .unwrap()
        .into_inner();
    let first = soon("a snapshot", news.message()).await.unwrap().unwrap();
    assert_eq!(first.jobs.len(), 2);
    let mut agent = one.connect().await;
    agent.ready().await;
    agent.granted().await;
    let changed = loop {
        let next = soon("a snapshot", news.message()).await.unwrap().unwrap();
        if !next.jobs.is_empty() {
            break next.jobs;
        }
    };
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (changed[0].machine.as_str(), changed[0].state.as_str()),
        ("one", "leased")
    );
}

#[tokio::test]
async fn a_cancelled_run_stops_its_agents_and_counts_nothing_more() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let busy = join(&world, &mut operator, "busy").await;
    join(&world, &mut operator, "away").await;
    let mut agent = busy.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;

    assert_eq!(operator.cancel("latest").await, 2);
    // Told at once: it sends no heartbeat, and the session looks by itself only every half a minute.
    let told = timeout(Duration::from_secs(10), agent.hear()).await;
    match told.expect("pushed").unwrap() {
        Some(Down::Cancel(cancel)) => assert_eq!(cancel.lease_id, grant.lease_id.to_string()),
        other => panic!("not told to stop but {other:?}"),
    }
    let ended = operator.watch(&run).await;
    assert_eq!(ended.run.unwrap().state, "cancelled");
    assert!(
        ended.jobs.iter().all(|job| job.state == "cancelled"),
        "{:?}",
        ended.jobs
    );
    // The agent's last word changes nothing, and it is free for the next run.
    agent
        .upload(vec![batch(
            &grant,
            0,
            vec![finished(JobOutcome::Cancelled)],
        )])
        .await
        .unwrap();
    operator.submit(PLAN).await;
    agent.ready().await;
    assert_ne!(agent.granted().await.job_id, grant.job_id);
    assert_eq!(operator.cancel(&run).await, 0, "it has ended");
}

#[tokio::test]
async fn a_plan_without_a_machine_is_refused_with_the_reasons_and_nothing_is_stored() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let refused = operator.try_submit(PLAN).await.problems;
    assert_eq!(refused[0].message, "no machine has joined this fleet yet");

    join(&world, &mut operator, "mini").await;
    let elsewhere = format!("{PLAN}\n[machines]\nchips = [\"Apple M9*\"]");
    let refused = operator.try_submit(&elsewhere).await.problems;
    assert_eq!(
        refused[0].message,
        "no machine of this fleet matches the plan"
    );
    assert_eq!(
        refused[0].help,
        "mini: chip Apple M3 Max is not among Apple M9*"
    );

    // `plan check` says what `run` would.
    let request = operator.request(wire::CheckPlanRequest {
        plan_toml: elsewhere.clone(),
    });
    let checked = operator.client.check_plan(request).await.unwrap();
    assert_eq!(checked.into_inner().problems, refused);
    let place = refused[0].start as usize..refused[0].end as usize;
    assert_eq!(&elsewhere[place], "\"Apple M9*\"");

    let misspelt = PLAN.replace("new_tokens", "new_token");
    let refused = operator.try_submit(&misspelt).await.problems;
    let place = refused[0].start as usize..refused[0].end as usize;
    assert_eq!(&misspelt[place], "new_token");
    assert_eq!(refused[0].help, "did you mean `new_tokens`?");
    for table in [
        "select count(*) from fleet.run",
        "select count(*) from fleet.plan",
    ] {
        assert_eq!(world.number(table).await, 0);
    }
}

#[tokio::test]
async fn a_machine_that_stays_away_is_noted_and_can_be_revoked() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let here = join(&world, &mut operator, "here").await;
    let away = join(&world, &mut operator, "away").await;
    let asleep = "update fleet.machine set last_seen_at = now() - interval '1 hour'
                  where name = 'away'";
    sqlx::query(asleep).execute(&world.db).await.unwrap();
    let mut agent = here.connect().await;
    let submitted = operator.try_submit(PLAN).await;
    assert_eq!(submitted.notes.len(), 1, "{:?}", submitted.notes);
    assert!(submitted.notes[0].starts_with("away is offline"));
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;

    let request = operator.request(wire::RevokeMachineRequest {
        machine: "away".to_owned(),
    });
    let revoked = operator.client.revoke_machine(request).await.unwrap();
    assert_eq!(revoked.into_inner().jobs_skipped, 1);
    let ended = operator.watch(&submitted.run_id).await;
    assert_eq!(ended.run.unwrap().state, "incomplete");
    let skipped = ended.jobs.iter().find(|job| job.machine == "away").unwrap();
    assert_eq!(
        (skipped.state.as_str(), skipped.reason.as_str()),
        ("skipped", "the certificate of its machine was revoked")
    );
    let refused = away.client().await.upload(tokio_stream::empty()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    // One at work loses its session and its lease.
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    agent.granted().await;
    let request = operator.request(wire::RevokeMachineRequest {
        machine: "here".to_owned(),
    });
    operator.client.revoke_machine(request).await.unwrap();
    assert_eq!(operator.watch(&run).await.jobs[0].state, "skipped");
    loop {
        match agent.hear().await {
            Ok(Some(Down::Cancel(_))) => {}
            Ok(other) => panic!("not thrown out but told {other:?}"),
            Err(status) => break assert_eq!(status.code(), Code::Aborted),
        }
    }
}

#[tokio::test]
async fn machines_left_out_and_jobs_that_do_not_fit_say_why() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let token = operator.token("join", 1).await;
    let mut small = super::fake_agent::inventory("small");
    small.memory_bytes = 8_000_000_000;
    super::fake_agent::enrol(&world, &token.expose(), &small)
        .await
        .unwrap();
    let plan = PLAN.replace("nano-llama", "llama-3.1-8b");

    let request = operator.request(wire::CheckPlanRequest {
        plan_toml: plan.clone(),
    });
    let checked = operator
        .client
        .check_plan(request)
        .await
        .unwrap()
        .into_inner();
    let jobs: Vec<_> = checked
        .jobs
        .iter()
        .map(|job| (job.machine.as_str(), &job.skipped))
        .collect();
    assert_eq!(jobs[0], ("mini", &String::new()));
    assert!(
        jobs[1].1.starts_with("would not fit, needs 16."),
        "{jobs:?}"
    );

    let run = operator.submit(&plan).await;
    let mut agent = machine.connect().await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    let ended = operator.watch(&run).await;
    let ended_run = ended.run.unwrap();
    assert_eq!(
        (ended_run.state.as_str(), ended_run.jobs_skipped),
        ("incomplete", 1)
    );
    assert_eq!(
        ended_run.launches_total, 4,
        "a skipped job has nothing to wait for"
    );

    let narrow = format!("{PLAN}\n[machines]\nmin_memory_gb = 64");
    operator.submit(&narrow).await;
    let left = world.texts("select reason from fleet.exclusion").await;
    assert_eq!(left, ["memory of 8.0 GB is below 64.0 GB"]);
}

#[tokio::test]
async fn machines_are_left_out_for_reasons_of_any_length() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    for name in ["mini", "studio"] {
        join(&world, &mut operator, name).await;
    }
    // Nothing that a database could make shorter.
    let names = (0..60).map(|_| format!("{0}{0}", Uuid::new_v4().simple()));
    let names: Vec<String> = names.chain(["mini".to_owned()]).collect();
    let plan = format!("{PLAN}\n[machines]\nnames = {names:?}");
    operator.submit(&plan).await;
    let left = world.number("select count(*) from fleet.exclusion where length(reason) > 3000");
    assert_eq!(left.await, 1);
}

#[tokio::test]
async fn a_run_is_named_by_its_id_its_beginning_or_latest() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    for (name, code) in [
        ("latest", Code::NotFound),
        ("0192f0c1", Code::NotFound),
        ("abc", Code::InvalidArgument),
        ("%", Code::InvalidArgument),
        ("'; drop", Code::InvalidArgument),
    ] {
        let request = operator.request(wire::CancelRunRequest {
            run: name.to_owned(),
        });
        let refused = operator.client.cancel_run(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{name}: {refused}");
    }
}

#[tokio::test]
async fn a_machine_is_idle_busy_or_offline() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let listed = operator.machines().await;
    assert_eq!(
        (listed[0].name.as_str(), listed[0].state.as_str()),
        ("mini", "idle")
    );
    assert_eq!(listed[0].labels["lab"], "one");
    assert_eq!(listed[0].certificate_fingerprint.len(), 64);
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let listed = operator.machines().await;
    assert_eq!(listed[0].state, "busy");
    assert!(
        listed[0].current_job.contains(&grant.job_id.to_string()),
        "{listed:?}"
    );
    let asleep = sqlx::query("update fleet.machine set last_seen_at = now() - interval '1 minute'");
    asleep.execute(&world.db).await.unwrap();
    assert_eq!(operator.machines().await[0].state, "offline");
    agent.heartbeat(grant.lease_id).await;
    assert!(matches!(
        agent.hear().await.unwrap(),
        Some(Down::Renewed(_))
    ));
    assert_eq!(operator.machines().await[0].state, "busy");
}

#[tokio::test]
async fn two_runs_are_compared_unless_they_were_measured_by_other_rules() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let other_seed = PLAN.replace("[protocol]", "[protocol]\nseed = 7");
    let mut runs = Vec::new();
    for plan in [PLAN, PLAN, &other_seed] {
        runs.push(operator.submit(plan).await);
        agent.ready().await;
        let grant = agent.granted().await;
        agent.do_job(&grant).await;
    }
    let sql = "select count(*) from report.run where state = 'succeeded'";
    world.until("the runs end", sql, 3).await;

    let compared = compare(&mut operator, &runs[1], &runs[0], &[])
        .await
        .unwrap();
    let pairs = compared["comparison"]["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 2, "each case with itself");
    for pair in pairs {
        // The launches of both runs gave the same numbers.
        assert_eq!(pair["ratio"]["value"], 1.0, "{pair}");
        assert_eq!(pair["machine"], "mini");
    }

    let refused = compare(&mut operator, &runs[2], &runs[0], &[])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("protocol in 2; name"),
        "{refused}"
    );
    let across = compare(&mut operator, &runs[2], &runs[0], &["protocol"])
        .await
        .unwrap();
    assert_eq!(across["across"], serde_json::json!(["protocol"]));
    let itself = compare(&mut operator, &runs[0], &runs[0], &[])
        .await
        .unwrap_err();
    assert_eq!(itself.code(), Code::InvalidArgument);
}

async fn compare(
    operator: &mut Operator,
    run: &str,
    baseline: &str,
    across: &[&str],
) -> Result<serde_json::Value, tonic::Status> {
    let request = operator.request(wire::CompareRunsRequest {
        run: run.to_owned(),
        baseline: baseline.to_owned(),
        across: across.iter().map(|&name| name.to_owned()).collect(),
        format: "json".to_owned(),
    });
    let mut chunks = operator.client.compare_runs(request).await?.into_inner();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        text.extend(chunk.data);
    }
    Ok(serde_json::from_slice(&text).unwrap())
}

#[tokio::test]
async fn the_story_of_a_run_is_told_with_who_asked_for_what() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let other = agent.granted().await;
    agent.do_job(&other).await;
    agent.ready().await;
    let grant = agent.granted().await;
    operator.cancel(&run).await;

    let story = operator.events(&run).await;
    let told: Vec<_> = story
        .iter()
        .map(|event| (event.kind.as_str(), event.actor.starts_with("data folder")))
        .collect();
    assert_eq!(
        told,
        [
            ("run_submitted", true),
            ("job_granted", false),
            ("run_cancelled", true),
            ("lease_cancelled", true),
        ]
    );
    let lease = &story[3];
    assert_eq!(
        (lease.machine.as_str(), lease.job.as_str(), &lease.lease_id),
        (
            "mini",
            "decode nano-llama bf16",
            &grant.lease_id.to_string()
        )
    );
    assert!(story.iter().all(|event| event.run_id == run));
    // The other run's jobs and leases are in the fleet's story, and in it alone.
    let fleet = operator.events("").await;
    let kinds: Vec<&str> = fleet.iter().map(|event| event.kind.as_str()).collect();
    for kind in ["token_created", "machine_enrolled", "lease_released"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_resumed_run_keeps_its_finished_launches_and_does_the_rest() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let first = agent.granted().await;
    let (case_key, ordinal) = to_do(&first).remove(0);
    let done = batch(&first, 0, launch(&case_key, ordinal).records());
    agent.upload(vec![done]).await.unwrap();
    operator.cancel(&run).await;
    assert_eq!(operator.watch(&run).await.run.unwrap().state, "cancelled");
    assert!(matches!(agent.hear().await, Ok(Some(Down::Cancel(_)))));

    assert_eq!(operator.resume_run(&run).await.unwrap(), 1);
    agent.ready().await;
    let second = agent.granted().await;
    assert_eq!((second.job_id, second.failures), (first.job_id, 0));
    assert!(second.epoch > first.epoch);
    assert_eq!(second.finished.len(), 1, "it is not measured again");
    // A job that fails for good may do better once its operator has mended the cause.
    let failed = batch(&second, 0, vec![finished(JobOutcome::Failed)]);
    agent.upload(vec![failed]).await.unwrap();
    assert_eq!(operator.watch(&run).await.run.unwrap().state, "incomplete");
    assert_eq!(operator.resume_run(&run).await.unwrap(), 1);
    agent.ready().await;
    let third = agent.granted().await;
    agent.do_job(&third).await;
    let ended = operator.watch(&run).await.run.unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.launches_done),
        ("succeeded", 4)
    );

    let refused = operator.resume_run(&run).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let story: Vec<String> = operator
        .events(&run)
        .await
        .into_iter()
        .map(|e| e.kind)
        .collect();
    assert_eq!(
        story.iter().filter(|kind| *kind == "run_resumed").count(),
        2
    );
}
