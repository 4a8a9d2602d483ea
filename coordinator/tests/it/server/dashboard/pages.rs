//! What the pages show of runs, plans and numbers, and how they stay as the fleet is.

use domain::job::{JobOutcome, LaunchOutcome};
use domain::record::Record;

use super::super::fake_agent::{Launch, batch, enrol, finished, inventory, join, launch, to_do};
use super::super::world::{Operator, PLAN, World};
use super::Browser;
use super::live::Events;

/// A run that one machine has done.
async fn done_run(world: &World, operator: &mut Operator) -> String {
    let machine = join(world, operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    operator.watch(&run).await;
    run
}

pub async fn signed_in(world: &World, operator: &Operator) -> Browser {
    let mut browser = Browser::of(world);
    browser.sign_in(&operator.token).await;
    browser
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

#[tokio::test]
async fn a_run_shows_its_machines_numbers_and_jobs_and_is_its_report() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let run = done_run(&world, &mut operator).await;
    let browser = signed_in(&world, &operator).await;
    let list = browser.see("/runs").await.body;
    assert!(
        list.contains(&format!("href=\"/runs/{run}\"")) && list.contains("1 of 1"),
        "{list}"
    );

    let page = browser.see("/runs/latest").await.body;
    for part in [
        "4 of 4 launches; 1 of 1 jobs succeeded",
        "<span class=\"chip job-succeeded\">1 succeeded</span>",
        "decode rate",
        "new 16, depth 0",
        "<svg class=\"dots\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("/cancel\""), "it has ended");

    let report = browser.see(&format!("/runs/{run}/report")).await;
    assert_eq!(report.status, 200);
    let policy = report.header("content-security-policy");
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    assert!(
        !policy
            .split("script-src")
            .nth(1)
            .unwrap()
            .contains("unsafe")
    );
    assert!(report.body.contains("benchmark report"));
    let text = browser.see(&format!("/runs/{run}/files/txt")).await;
    assert!(text.header("content-disposition").contains("summary.txt"));
    let several = browser.see(&format!("/runs/{run}/files/png")).await;
    assert_eq!(several.status, 400);
    assert!(
        several.body.contains("has several files"),
        "{}",
        several.body
    );
    let bad = browser.see(&format!("/runs/{run}/files/doc")).await;
    assert_eq!(bad.status, 400);
    assert!(
        bad.body.contains("unknown format <code>doc</code>"),
        "{}",
        bad.body
    );
}

#[tokio::test]
async fn a_run_that_goes_wrong_can_be_cancelled_and_its_jobs_queued_again() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let run = operator.submit(PLAN).await;
    let browser = signed_in(&world, &operator).await;
    let page = browser.see(&format!("/runs/{run}")).await.body;
    assert!(
        page.contains("/cancel\"") && !page.contains("/resume\""),
        "{page}"
    );
    browser.ask("POST", "/machines/mini/drain", "").await;
    let page = browser.see(&format!("/runs/{run}")).await.body;
    assert!(page.contains(">drained</span> since <time"), "{page}");
    let told = browser
        .ask("POST", &format!("/runs/{run}/cancel"), "")
        .await;
    assert_eq!(told.header("location"), format!("/runs/{run}"));
    let page = browser.see(&format!("/runs/{run}")).await.body;
    assert!(
        page.contains("the run was cancelled") && page.contains("/resume\""),
        "{page}"
    );
    browser
        .ask("POST", &format!("/runs/{run}/resume"), "")
        .await;
    let queued = "select count(*) from fleet.job where state = 'queued'";
    assert_eq!(world.number(queued).await, 1);
}

#[tokio::test]
async fn a_job_that_failed_shows_what_its_worker_wrote_last() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mini = join(&world, &mut operator, "mini").await;
    let mut agent = mini.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (case_key, ordinal) = to_do(&grant).remove(0);
    let mut records = Launch {
        outcome: LaunchOutcome::Crashed,
        ..launch(&case_key, ordinal)
    }
    .records();
    for record in &mut records {
        if let Record::LaunchFinished(finished) = record {
            finished.stderr_tail = "libmlx: <no> memory".to_owned();
        }
    }
    records.push(finished(JobOutcome::Failed));
    agent.upload(vec![batch(&grant, 0, records)]).await.unwrap();
    let browser = signed_in(&world, &operator).await;
    let page = browser.see(&format!("/runs/{run}")).await.body;
    assert!(
        page.contains("Log of its worker") && page.contains("libmlx: &#60;no&#62; memory"),
        "{page}"
    );
}

#[tokio::test]
async fn cases_are_drawn_along_what_the_url_asks_for() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let browser = signed_in(&world, &operator).await;
    let page = browser.see("/explore").await.body;
    assert!(page.contains("Nothing measured yet"), "{page}");
    done_run(&world, &mut operator).await;
    let page = browser.see("/explore").await.body;
    for part in [
        "decode rate by new",
        "2 points in 1 series",
        "<option value=\"decode_tps\" selected>decode rate</option>",
        "new 32, depth 0",
        "where suite = &#39;decode&#39;",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let asked = form(&[("x", "machine"), ("colour", "new"), ("doubts", "all")]);
    let page = browser.see(&format!("/explore?{asked}")).await.body;
    assert!(
        page.contains("decode rate by machine") && page.contains("2 points in 1 rows and 2 series"),
        "{page}"
    );
    let asked = form(&[("machine", "it's <gone>"), ("metric", "gone")]);
    let page = browser.see(&format!("/explore?{asked}")).await.body;
    assert!(
        page.contains("No case is like that") && page.contains("it&#39;s &#60;gone&#62;</option>"),
        "{page}"
    );
    let asked = form(&[("metric", "gone"), ("x", "depths"), ("colour", "chip")]);
    let page = browser.see(&format!("/explore?{asked}")).await.body;
    for part in [
        "Nothing here has the metric gone: decode_tps is shown instead.",
        "Nothing here has the axis depths: new is shown instead.",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    // Points that the picture does not tell apart.
    done_run(&world, &mut operator).await;
    let page = browser.see("/explore?x=new&colour=chip").await.body;
    assert!(page.contains("may differ in run: choose"), "{page}");
}

#[tokio::test]
async fn runs_are_found_by_what_they_are_and_older_ones_by_a_link() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let mut ids = Vec::new();
    for name in ["nightly", "Morning", "nightly-2"] {
        ids.push(operator.submit(&PLAN.replace("small", name)).await);
    }
    let browser = signed_in(&world, &operator).await;
    let shown = async |query: &str| {
        let page = browser.see(&format!("/runs{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        let here = ids
            .iter()
            .map(|id| page.body.contains(&format!("id=\"run-{id}\"")));
        here.collect::<Vec<_>>()
    };
    assert_eq!(shown("").await, [true, true, true]);
    assert_eq!(shown("?plan=Nightly").await, [true, false, true]);
    assert_eq!(
        shown("?plan=%25").await,
        [false, false, false],
        "no pattern"
    );
    assert_eq!(
        shown("?state=active&label=measured").await,
        [true, true, true]
    );
    assert_eq!(shown("?label=imported").await, [false, false, false]);
    assert_eq!(
        shown(&format!("?before={}", ids[2])).await,
        [true, true, false]
    );
    // What is asked for stays while it is watched.
    let page = browser.see("/runs?plan=nightly&state=active").await.body;
    assert!(
        page.contains("data-live=\"/live/runs?plan=nightly&#38;state=active\""),
        "{page}"
    );
    let events = Events::of(&browser, "/live/runs?plan=nightly&state=cancelled&seen=old");
    assert!(events.await.next("whole").await.contains("No such run"));
    for wrong in [
        "?state=done",
        "?label=mine",
        "?before=yesterday",
        "?plan=a&plan=b",
    ] {
        let page = browser.see(&format!("/runs{wrong}")).await;
        assert_eq!(page.status, 400, "{wrong}");
        assert!(
            page.body.contains("<h1>"),
            "a page, not bare text: {}",
            page.body
        );
    }
    // More than a page holds.
    let more = "insert into fleet.run
            (run_id, plan_id, label, file_name, headline, protocol, state, submitted_at, ended_at)
        select gen_random_uuid(), plan_id, label, file_name, headline, protocol, 'cancelled',
            submitted_at - n * interval '1 s', submitted_at
        from fleet.run, generate_series(1, 40) as n";
    sqlx::query(more).execute(&world.db).await.unwrap();
    let page = browser.see("/runs?plan=i").await.body;
    let older = page
        .split("href=\"/runs?plan=i&#38;before=")
        .nth(1)
        .unwrap();
    let older = older.split('"').next().unwrap();
    let page = browser
        .see(&format!("/runs?plan=i&before={older}"))
        .await
        .body;
    assert_eq!(page.matches("<tr id=\"run-").count(), 23, "{page}");
    assert!(!page.contains("Older runs"));
}

#[tokio::test]
async fn a_plan_is_checked_as_it_stands_and_submitted() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let browser = signed_in(&world, &operator).await;
    assert!(
        browser
            .see("/plan")
            .await
            .body
            .contains("name = &#34;quick&#34;")
    );
    let wrong = PLAN.replace("launches = 2", "launchs = 2");
    let told = browser
        .ask("POST", "/plan/check", &form(&[("plan", &wrong)]))
        .await;
    assert!(
        told.body.contains("Line 4, column 1") && told.body.contains("did you mean `launches`?"),
        "{}",
        told.body
    );
    let refused = browser
        .ask("POST", "/plan", &form(&[("plan", &wrong)]))
        .await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.body.contains("launchs = 2") && refused.body.contains("Line 4"),
        "what was written is kept"
    );

    let told = browser
        .ask("POST", "/plan/check", &form(&[("plan", PLAN)]))
        .await;
    assert!(
        told.body.contains("1 job, 4 launches") && !told.body.contains("<html"),
        "{}",
        told.body
    );
    assert!(told.body.contains("not known"), "nothing like it was done");
    let job =
        "<tr><th scope=\"row\">mini</th><td>decode</td><td>nano-llama</td><td class=\"num\">2</td>";
    assert!(told.body.contains(job), "{}", told.body);
    done_run(&world, &mut operator).await;
    let told = browser
        .ask("POST", "/plan/check", &form(&[("plan", PLAN)]))
        .await;
    assert!(
        told.body.contains("1 job, 4 launches, about 10 s"),
        "{}",
        told.body
    );
    // As browsers send what was written in a form.
    let sent = form(&[("plan", &PLAN.replace('\n', "\r\n"))]);
    let submitted = browser.ask("POST", "/plan", &sent).await;
    assert_eq!(submitted.status, 303, "{}", submitted.body);
    let page = browser.see(submitted.header("location")).await.body;
    assert!(page.contains("1 queued"), "{page}");
}

#[tokio::test]
async fn a_statement_is_answered_as_a_table_and_as_csv() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    done_run(&world, &mut operator).await;
    let browser = signed_in(&world, &operator).await;
    let asked = form(&[(
        "q",
        "select machine, '<b>' as x, null as y from report.machine",
    )]);
    let page = browser.see(&format!("/sql?{asked}")).await.body;
    assert!(
        page.contains("1 row.") && page.contains("<td>mini</td><td>&#60;b&#62;</td>"),
        "{page}"
    );
    assert!(page.contains("case_summary") && page.contains("What ran lately?"));
    let csv = browser.see(&format!("/sql.csv?{asked}")).await;
    assert_eq!(csv.body, "machine,x,y\nmini,<b>,\n");
    let many = form(&[("q", "select generate_series(1, 1001) as n")]);
    let page = browser.see(&format!("/sql?{many}")).await.body;
    assert!(page.contains("The first 1000 rows of more."));
    for (statement, words) in [
        ("select * from fleet.token", "permission denied"),
        ("select nothing", "column &#34;nothing&#34; does not exist"),
        ("delete from report.run", "cannot delete from view"),
        (
            "select repeat('x', 4000000) from generate_series(1, 20)",
            "the answer has more than 32 MB",
        ),
    ] {
        let asked = form(&[("q", statement)]);
        let page = browser.see(&format!("/sql?{asked}")).await.body;
        assert!(
            page.contains("role=\"alert\"") && page.contains(words),
            "{statement}: {page}"
        );
    }
}

#[tokio::test]
async fn two_runs_are_compared_or_it_is_said_why_not() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let first = done_run(&world, &mut operator).await;
    let browser = signed_in(&world, &operator).await;
    assert!(
        browser
            .see("/compare")
            .await
            .body
            .contains("It takes two runs")
    );
    let second = done_run(&world, &mut operator).await;
    let asked = form(&[("run", &second), ("baseline", &first)]);
    let page = browser.see(&format!("/compare?{asked}")).await.body;
    assert!(
        page.contains("class=\"verdict\"") && page.contains("decode rate"),
        "{page}"
    );
    // The statement that is shown finds the ratio that is shown.
    let link = page.split("href=\"/sql?q=").nth(1).unwrap();
    let link = format!("/sql.csv?q={}", link.split('"').next().unwrap());
    let csv = browser.see(&link).await.body;
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 3, "two cases: {csv}");
    assert!(rows[0].contains("ratio,ci_low,ci_high,verdict"), "{csv}");
    assert!(rows[1].contains("tok/s,1,"), "{csv}");
    assert!(page.contains("1.000"), "{page}");
    // `latest` is the run's id from then on.
    let asked = form(&[("run", "latest"), ("baseline", &first)]);
    let page = browser.see(&format!("/compare?{asked}")).await.body;
    assert!(!page.contains("value=\"latest\""), "{page}");

    let asked = form(&[("run", &first), ("baseline", &first)]);
    let page = browser.see(&format!("/compare?{asked}")).await.body;
    assert!(page.contains("role=\"alert\""), "{page}");
}

#[tokio::test]
async fn machines_and_chips_of_a_run_are_compared() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mut machines = Vec::new();
    for name in ["mini", "studio"] {
        machines.push(join(&world, &mut operator, name).await);
    }
    let run = operator.submit(PLAN).await;
    for machine in machines {
        let mut agent = machine.connect().await;
        agent.ready().await;
        let grant = agent.granted().await;
        agent.do_job(&grant).await;
    }
    operator.watch(&run).await;
    let browser = signed_in(&world, &operator).await;
    let page = browser.see("/compare/machines").await.body;
    assert!(
        page.contains("<option value=\"studio\"></option>"),
        "{page}"
    );
    let asked = form(&[("run", &run), ("of", "studio"), ("over", "mini")]);
    let page = browser
        .see(&format!("/compare/machines?{asked}"))
        .await
        .body;
    assert!(
        page.contains("studio over mini")
            && page.contains("<td class=\"num\" data-label=\"Ratio\">1.000"),
        "{page}"
    );
    let chip = inventory("mini").chip;
    let asked = form(&[("run", &run), ("of", &chip), ("over", "mini")]);
    let page = browser
        .see(&format!("/compare/machines?{asked}"))
        .await
        .body;
    assert!(page.contains("studio over mini") && !page.contains("mini over studio"));
    let asked = form(&[("run", &run), ("of", "air"), ("over", "mini")]);
    let page = browser
        .see(&format!("/compare/machines?{asked}"))
        .await
        .body;
    assert!(
        page.contains("air and mini have no case of a headline metric in common"),
        "{page}"
    );
}

#[tokio::test]
async fn a_machine_joins_with_the_token_that_the_page_shows() {
    let world = World::start().await;
    let operator = world.operator().await;
    let browser = signed_in(&world, &operator).await;
    let page = browser.ask("POST", "/machines/add", "uses=2").await.body;
    let line = page.split("<pre class=\"line\"").nth(1).unwrap();
    let token = line
        .split("--token ")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    enrol(&world, token, &inventory("air")).await.unwrap();
    assert!(browser.see("/").await.body.contains("air"));
    let wrong = browser.ask("POST", "/machines/add", "uses=0").await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
}
