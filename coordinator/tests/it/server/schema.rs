//! The schema: equal to the domain's words, and brought up to date without losing a row.

use domain::llama_cpp::{self, Precision};
use domain::metric::Metric;
use domain::reason::Reason;

use super::fake_agent::join;
use super::world::{PLAN, World};

#[tokio::test]
async fn the_tables_of_metrics_and_reasons_are_the_domains() {
    let world = World::start().await;
    let stored = world
        .texts("select concat_ws('|', metric, unit, direction, description) from fleet.metric")
        .await;
    let mut known: Vec<String> = Metric::ALL
        .iter()
        .map(|m| [m.name(), m.unit(), m.direction().as_str(), m.description()].join("|"))
        .collect();
    assert_eq!(sorted(stored), {
        known.sort();
        known
    });

    let stored = world
        .texts("select concat_ws('|', reason, severity, description) from fleet.reason")
        .await;
    let known: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            [
                reason.code(),
                reason.severity().as_str(),
                reason.description(),
            ]
            .join("|")
        })
        .collect();
    assert_eq!(sorted(stored), sorted(known));
}

#[tokio::test]
async fn what_llama_cpp_published_is_in_a_view_with_its_source() {
    let world = World::start().await;
    let known = llama_cpp::all().iter().flat_map(|row| {
        let rates = Precision::ALL.map(|precision| row.rates(precision));
        rates.into_iter().flatten()
    });
    let rows = world.number("select count(*) from report.reference_result");
    assert_eq!(rows.await, 2 * known.count() as i64);
    let of_one = world.texts(
        "select concat_ws(' | ', engine, source, model, case_key, metric, value, unit)
         from report.reference_result
         where chip = 'Apple M4 Max' and gpu_cores = 40 and quantisation = 'F16' order by suite",
    );
    assert_eq!(
        of_one.await,
        [
            "llama.cpp | discussion 4167, build 8e672ef | LLaMA 2 7B | new=128,depth=0 | decode_tps_sync | 31.64 | tok/s",
            "llama.cpp | discussion 4167, build 8e672ef | LLaMA 2 7B | prompt=512,depth=0,chunk=? | prefill_tps | 922.83 | tok/s",
        ]
    );
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test]
async fn the_migrations_keep_what_is_stored_and_the_views_are_rebuilt_only_when_they_changed() {
    let mut world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    let run = operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    agent.do_job(&grant).await;
    let view = "select 'report.run'::regclass::oid::bigint";
    let samples = "select count(*) from report.sample";
    let (made, counted) = (world.number(view).await, world.number(samples).await);
    assert!(counted > 0);

    world.down().await;
    world.up().await;
    assert_eq!(world.number(view).await, made, "nothing was new");

    world.down().await;
    let older =
        sqlx::query("update fleet.setting set value = 'older' where setting = 'schema_sha256'");
    older.execute(&world.db).await.unwrap();
    // A user's own view is not taken along.
    sqlx::query("create view public.mine as select count(*) from report.sample")
        .execute(&world.db)
        .await
        .unwrap();
    let refused = world.try_up().await.unwrap_err();
    let refused = service::tls::explain(&refused);
    assert!(refused.contains("public.mine"), "{refused}");
    assert_eq!(world.number("select count from mine").await, counted);
    sqlx::query("drop view public.mine")
        .execute(&world.db)
        .await
        .unwrap();
    world.up().await;
    assert_ne!(world.number(view).await, made);
    assert_eq!(world.number(samples).await, counted);
    let watched = world.operator().await.watch(&run).await.run.unwrap();
    assert_eq!(
        (watched.state.as_str(), watched.launches_done),
        ("succeeded", 4)
    );
}
