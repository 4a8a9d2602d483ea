//! What monitoring systems see.

use std::collections::BTreeMap;

use super::fake_agent::join;
use super::world::{PLAN, World, exchange};

/// The status and the body of a GET.
async fn get(world: &World, path: &str) -> (u16, String) {
    let url = world.metrics_url();
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/metrics");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let (status, _, body) = exchange(address.unwrap(), &request).await;
    (status, body)
}

/// The samples by name and labels, as they are written.
async fn metrics(world: &World) -> BTreeMap<String, String> {
    let (status, text) = get(world, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn metrics_count_what_the_fleet_does() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    join(&world, &mut operator, "other").await;
    let before = metrics(&world).await;
    assert_eq!(before["mlx_fleet_agent_sessions"], "0");
    assert_eq!(before["mlx_fleet_machines{state=\"idle\"}"], "2");
    assert_eq!(before["mlx_fleet_machines{state=\"drained\"}"], "0");

    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;
    let now = metrics(&world).await;
    for (name, value) in [
        ("mlx_fleet_agent_sessions", "1"),
        ("mlx_fleet_machines{state=\"busy\"}", "1"),
        ("mlx_fleet_jobs{state=\"queued\"}", "1"),
        ("mlx_fleet_jobs{state=\"leased\"}", "1"),
        ("mlx_fleet_runs_active", "1"),
        ("mlx_fleet_runs_submitted_total", "1"),
        ("mlx_fleet_jobs_granted_total", "1"),
        ("mlx_fleet_batches_stored_total", "0"),
        ("mlx_fleet_database_up", "1"),
    ] {
        assert_eq!(now[name], value, "{name} in {now:?}");
    }
    agent.do_job(&grant).await;
    let now = metrics(&world).await;
    // A batch for each launch and one for the end.
    assert_eq!(now["mlx_fleet_batches_stored_total"], "5");
    let count = |name: &str| now[name].parse::<u32>().unwrap();
    assert!(count("mlx_fleet_records_stored_total") > 5);
    assert!(count("mlx_fleet_ingest_commit_seconds_count") >= 1);
    assert!(
        now.keys()
            .any(|name| name.starts_with("mlx_fleet_build_info{version="))
    );
}

#[tokio::test]
async fn a_coordinator_is_healthy_while_it_runs_and_ready_while_it_has_its_database() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&world, path).await, (200, "ok\n".to_owned()));
    }
    assert_eq!(get(&world, "/fleet").await.0, 404);
    world.stop_database();
    let (status, why) = get(&world, "/readyz").await;
    assert_eq!(status, 503, "{why}");
    assert_eq!(get(&world, "/healthz").await.0, 200);
    let without = metrics(&world).await;
    assert_eq!(without["mlx_fleet_database_up"], "0");
    assert_eq!(without.get("mlx_fleet_runs_active"), None);
}
