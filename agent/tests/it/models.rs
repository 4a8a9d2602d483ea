//! A job whose model is not here, through cut downloads, damage and orders to stop.

use std::collections::BTreeMap;
use std::path::Path;

use domain::hub::HubModel;
use domain::lease::Grant;
use domain::model::ModelRef;
use proto::wire;
use service::hub::Cache;
use sha2::{Digest, Sha256};

use crate::coordinator::{Coordinator, Cut, Offer, Seen};
use crate::driver::{Agent, started};
use crate::grant;

const SOURCE: &str = "hf://fake/good";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &[u8] = b"{}";
/// What `printf '{}' | git hash-object --stdin` says.
const CONFIG_DIGEST: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

fn weights() -> Vec<u8> {
    (0..100_000_u32).map(|at| (at / 3) as u8).collect()
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn offer() -> Offer {
    let weights = weights();
    let file = |name: &str, content: &[u8], digest: &str| wire::ModelFile {
        name: name.to_owned(),
        bytes: content.len() as u64,
        digest: digest.to_owned(),
    };
    let found = wire::FindModelResponse {
        commit: COMMIT.to_owned(),
        files: vec![
            file("config.json", CONFIG, CONFIG_DIGEST),
            file("model.safetensors", &weights, &sha256(&weights)),
        ],
    };
    let contents = [
        (CONFIG_DIGEST.to_owned(), CONFIG.to_vec()),
        (sha256(&weights), weights),
    ];
    Offer {
        source: SOURCE.to_owned(),
        found,
        contents: BTreeMap::from(contents),
    }
}

fn hub_grant() -> Grant {
    Grant {
        model: Some(ModelRef {
            source: SOURCE.parse().unwrap(),
            dtype: None,
        }),
        ..grant("good", 1, 2)
    }
}

fn cache(dir: &Path) -> Cache {
    Cache::at(dir.join("hub"))
}

fn model() -> HubModel {
    SOURCE.parse().unwrap()
}

/// What was asked for, and from where.
fn fetched(heard: &[Seen]) -> Vec<(String, u64)> {
    let fetches = heard.iter().filter_map(|seen| match seen {
        Seen::Fetch(digest, offset) => Some((digest.clone(), *offset)),
        _ => None,
    });
    fetches.collect()
}

fn is_fetch(seen: &Seen, wanted: &str) -> bool {
    matches!(seen, Seen::Fetch(digest, _) if digest == wanted)
}

#[tokio::test]
async fn a_model_comes_once_goes_on_where_it_was_cut_and_then_the_job_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    coordinator.offer(offer());
    coordinator.cut_files([Cut::Breaks(2), Cut::Breaks(30_000), Cut::Breaks(0)]);
    let first = hub_grant();
    coordinator.grant(&first).await;
    let weights_digest = sha256(&weights());
    let heard = coordinator
        .wait(|seen| *seen == Seen::Fetch(weights_digest.clone(), 30_000))
        .await;
    // Cut after its last byte: nothing of the configuration is asked for again.
    let expected = [
        (CONFIG_DIGEST.to_owned(), 0),
        (weights_digest.clone(), 0),
        (weights_digest.clone(), 30_000),
    ];
    assert_eq!(fetched(&heard), expected);
    let ended = coordinator.job_finished(first.lease_id).await;
    assert_eq!(ended, ("succeeded".into(), String::new()));
    assert_eq!(started(&coordinator.records(first.lease_id)), 2);
    assert!(cache(dir.path()).holds(&model()));
    coordinator.ready().await;

    let second = hub_grant();
    coordinator.grant(&second).await;
    let heard = coordinator.ready().await;
    assert_eq!(fetched(&heard), [], "it is here");
    assert_eq!(
        coordinator.job_finished(second.lease_id).await.0,
        "succeeded"
    );
    agent.kill().await;
}

#[tokio::test]
async fn a_restarted_agent_goes_on_with_the_bytes_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    coordinator.offer(offer());
    coordinator.cut_files([Cut::Breaks(2), Cut::Hangs(30_000)]);
    let lost = hub_grant();
    coordinator.grant(&lost).await;
    let digest = sha256(&weights());
    let progress = Seen::Progress(0, 2);
    coordinator.wait(|seen| is_fetch(seen, &digest)).await;
    // A third of it, which the next message of progress says.
    coordinator.wait(|seen| *seen == progress).await;
    let part = cache(dir.path())
        .blob(&model(), &digest.parse().unwrap())
        .with_extension("part");
    while std::fs::metadata(&part).map_or(0, |part| part.len()) < 30_000 {
        coordinator
            .wait(|seen| matches!(seen, Seen::Heartbeat(_)))
            .await;
    }
    agent.kill().await;
    coordinator.forget_leases();

    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let again = hub_grant();
    coordinator.grant(&again).await;
    let heard = coordinator.wait(|seen| is_fetch(seen, &digest)).await;
    assert_eq!(fetched(&heard), [(digest, 30_000)]);
    assert_eq!(
        coordinator.job_finished(again.lease_id).await.0,
        "succeeded"
    );
    agent.kill().await;
}

#[tokio::test]
async fn a_damaged_model_is_refused_by_its_hash_and_its_job_is_parked() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let mut damaged = offer();
    let digest = sha256(&weights());
    damaged.contents.get_mut(&digest).unwrap()[99_999] ^= 1;
    coordinator.offer(damaged);
    // What is cut and damaged is tried once more from its beginning.
    coordinator.cut_files([Cut::Breaks(2), Cut::Breaks(30_000)]);
    let grant = hub_grant();
    coordinator.grant(&grant).await;
    let (outcome, reason) = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(outcome, "parked");
    for word in [
        "model.safetensors is damaged",
        &digest,
        "mlx-fleet model fetch",
    ] {
        assert!(reason.contains(word), "{word} is not in {reason}");
    }
    let records = coordinator.records(grant.lease_id);
    assert_eq!(started(&records), 0, "nothing of it is measured");
    assert!(!cache(dir.path()).holds(&model()));
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn names_that_lead_out_of_the_cache_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    for (name, digest) in [
        ("../../../out.json", CONFIG_DIGEST),
        ("/tmp/out.json", CONFIG_DIGEST),
        ("run.py", CONFIG_DIGEST),
        ("a.json", "../../../../out"),
    ] {
        let mut evil = offer();
        evil.found.files.push(wire::ModelFile {
            name: name.to_owned(),
            bytes: 2,
            digest: digest.to_owned(),
        });
        coordinator.offer(evil);
        let grant = hub_grant();
        coordinator.grant(&grant).await;
        let (outcome, reason) = coordinator.job_finished(grant.lease_id).await;
        assert_eq!(outcome, "parked", "{name} {reason}");
        assert!(reason.contains(SOURCE), "{reason}");
        let heard = coordinator.ready().await;
        assert_eq!(fetched(&heard), [], "{name}");
    }
    assert!(!dir.path().join("hub").exists());
    agent.kill().await;
}

#[tokio::test]
async fn a_download_ends_with_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    coordinator.offer(offer());
    coordinator.cut_files([Cut::Hangs(1)]);
    let grant = hub_grant();
    coordinator.grant(&grant).await;
    coordinator.wait(|seen| is_fetch(seen, CONFIG_DIGEST)).await;
    coordinator.cancel(grant.lease_id).await;
    let ended = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(ended.0, "cancelled");
    coordinator.ready().await;
    agent.kill().await;
}

#[tokio::test]
async fn what_cannot_fit_is_not_downloaded() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let mut giant = offer();
    giant.found.files[1].bytes = 1 << 60;
    coordinator.offer(giant);
    let grant = hub_grant();
    coordinator.grant(&grant).await;
    let (outcome, reason) = coordinator.job_finished(grant.lease_id).await;
    assert_eq!(outcome, "skipped");
    assert!(
        reason.starts_with("would not fit, needs 1152921504"),
        "{reason}"
    );
    assert!(!dir.path().join("hub").exists());
    agent.kill().await;
}

#[tokio::test]
async fn what_nobody_has_is_the_workers_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(dir.path(), &coordinator);
    coordinator.ready().await;
    let grant = hub_grant();
    coordinator.grant(&grant).await;
    // The fake worker does without files.
    assert_eq!(
        coordinator.job_finished(grant.lease_id).await.0,
        "succeeded"
    );
    assert_eq!(started(&coordinator.records(grant.lease_id)), 2);
    agent.kill().await;
}
