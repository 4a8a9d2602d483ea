//! What a machine gets of the models that the coordinator has, and what it does not.

use std::fs;
use std::path::{Path, PathBuf};

use domain::hub::{HubFile, HubModel, Snapshot};
use proto::wire;
use service::hub::Cache;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use super::fake_agent::{FakeAgent, Machine, join};
use super::world::{PLAN, World, soon};

const SOURCE: &str = "hf://org/name";
/// More than flow control lets through at once.
const WEIGHT_BYTES: usize = 3_000_000;
/// As many as the coordinator sends at one time.
const MAX_SENDING: usize = 16;

fn model() -> HubModel {
    SOURCE.parse().unwrap()
}

fn weights() -> Vec<u8> {
    (0..WEIGHT_BYTES).map(|at| (at / 7) as u8).collect()
}

fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn cache(world: &World) -> Cache {
    Cache::at(world.folder.root().join("models"))
}

/// A model in the coordinator's folder, as a download leaves it.
fn offer(world: &World) -> Snapshot {
    let (cache, model) = (cache(world), model());
    let contents = [
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", weights()),
    ];
    let files = contents.map(|(name, content)| {
        let file = HubFile {
            name: name.parse().unwrap(),
            bytes: content.len() as u64,
            digest: sha256(&content).parse().unwrap(),
        };
        let mut part = cache.part(&model, &file).unwrap().unwrap();
        part.write(&content).unwrap();
        part.finish().unwrap();
        file
    });
    let commit = "0a".repeat(20).parse().unwrap();
    let snapshot = Snapshot::new(commit, files.to_vec()).unwrap();
    cache.keep(&model, &snapshot).unwrap();
    snapshot
}

fn entry(world: &World) -> PathBuf {
    cache(world).root().join(model().folder())
}

/// A machine that is at work on a job, and asks over links of their own: who takes nothing of a file holds up
/// all else on its link.
struct Asking {
    machine: Machine,
    lease: String,
    _agent: FakeAgent,
}

impl Asking {
    async fn at_work(world: &World) -> Self {
        let mut operator = world.operator().await;
        let machine = join(world, &mut operator, "mini").await;
        let mut agent = machine.connect().await;
        operator.submit(PLAN).await;
        agent.ready().await;
        let lease = agent.granted().await.lease_id.to_string();
        Self {
            machine,
            lease,
            _agent: agent,
        }
    }

    async fn find(&self, source: &str) -> Result<Snapshot, Status> {
        let request = wire::FindModelRequest {
            lease_id: self.lease.clone(),
            source: source.to_owned(),
        };
        let mut client = self.machine.client().await;
        let found = soon("an answer", client.find_model(request)).await?;
        Ok(found.into_inner().try_into().unwrap())
    }

    async fn open(
        &self,
        digest: &str,
        offset: u64,
    ) -> Result<tonic::Streaming<wire::ModelFileChunk>, Status> {
        let request = wire::FetchModelFileRequest {
            lease_id: self.lease.clone(),
            source: SOURCE.to_owned(),
            digest: digest.to_owned(),
            offset,
        };
        let mut client = self.machine.client().await;
        let opened = soon("an answer", client.fetch_model_file(request)).await?;
        Ok(opened.into_inner())
    }

    async fn fetch(&self, digest: &str, offset: u64) -> Result<Vec<u8>, Status> {
        let mut chunks = self.open(digest, offset).await?;
        let mut content = Vec::new();
        while let Some(chunk) = soon("a chunk", chunks.message()).await? {
            content.extend(chunk.data);
        }
        Ok(content)
    }
}

#[tokio::test]
async fn a_model_is_given_out_by_hash_from_any_byte_on() {
    let world = World::start().await;
    let mini = Asking::at_work(&world).await;
    let none = mini.find(SOURCE).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert!(none.message().contains("mlx-fleet model fetch"), "{none}");

    let snapshot = offer(&world);
    assert_eq!(mini.find(SOURCE).await.unwrap(), snapshot);
    let by_commit = format!("{SOURCE}@{}", snapshot.commit());
    assert_eq!(mini.find(&by_commit).await.unwrap(), snapshot);
    let weights = weights();
    let digest = sha256(&weights);
    assert!(mini.fetch(&digest, 0).await.unwrap() == weights);
    assert!(mini.fetch(&digest, 2_999_990).await.unwrap() == weights[2_999_990..]);
    assert!(mini.fetch(&digest, 3_000_000).await.unwrap().is_empty());

    let told = "select count(*) from fleet.event join fleet.lease using (lease_id)
        where event.kind = 'model_sent' and event.job_id = lease.job_id and run_id is not null";
    assert_eq!(world.number(told).await, 2);
}

#[tokio::test]
async fn nothing_but_a_models_files_leaves_the_folder_and_only_under_a_lease() {
    let world = World::start().await;
    let mini = Asking::at_work(&world).await;
    offer(&world);
    // Beside the model, and linked from it.
    let key = world.folder.ca_key();
    let folder = entry(&world).join("snapshots").join("0a".repeat(20));
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    };
    link(&key, "key.json");
    link(Path::new("../../../../ca.key"), "other.txt");
    let hash = sha256(b"anything");
    std::os::unix::fs::symlink(&key, entry(&world).join("blobs").join(&hash)).unwrap();
    link(&Path::new("../../blobs").join(&hash), "third.json");
    let files = mini.find(SOURCE).await.unwrap().files().len();
    assert_eq!(files, 2, "what is no blob is not listed");

    for digest in ["", "../../../ca.key", "config.json", &"0A".repeat(32)] {
        let refused = mini.fetch(digest, 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{digest}");
    }
    let absent = mini.fetch(&"0a".repeat(32), 0).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let linked = mini.fetch(&hash, 0).await.unwrap_err();
    assert_eq!(linked.code(), Code::NotFound, "a blob is a file");
    for source in ["org/name", "hf://../..", "/etc", "synthetic:nano-llama"] {
        let refused = mini.find(source).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{source}");
    }

    world
        .number(
            "with ended as (update fleet.lease set state = 'expired', ended_at = now() returning 1)
             select count(*) from ended",
        )
        .await;
    let late = mini.find(SOURCE).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
    let late = mini.fetch(&sha256(b"{}"), 0).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
}

#[tokio::test]
async fn so_many_are_sent_at_once_and_the_next_comes_again() {
    let world = World::start().await;
    let mini = Asking::at_work(&world).await;
    offer(&world);
    let digest = sha256(&weights());
    let mut sending = Vec::new();
    for _ in 0..MAX_SENDING {
        sending.push(mini.open(&digest, 0).await.unwrap());
    }
    let busy = mini.open(&digest, 0).await.unwrap_err();
    assert_eq!(busy.code(), Code::Unavailable);
    assert!(mini.find(SOURCE).await.is_ok(), "others are answered");
    drop(sending.pop());
    let again = async {
        while mini.open(&digest, 2_999_999).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("a free place", again).await;
}

#[tokio::test]
async fn a_coordinator_stops_under_a_machine_that_takes_nothing() {
    let mut world = World::start().await;
    let mini = Asking::at_work(&world).await;
    offer(&world);
    let mut chunks = mini.open(&sha256(&weights()), 0).await.unwrap();
    let began = std::time::Instant::now();
    world.down().await;
    assert!(began.elapsed() < coordinator::server::GRACE);
    let ended = loop {
        match chunks.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a file cut short is an error"),
            Err(status) => break status,
        }
    };
    assert!(!ended.message().is_empty(), "{ended}");
}

#[tokio::test]
async fn what_is_half_there_is_not_given_out() {
    let world = World::start().await;
    let mini = Asking::at_work(&world).await;
    offer(&world);
    fs::remove_file(cache(&world).blob(&model(), &sha256(&weights()).parse().unwrap())).unwrap();
    let gone = mini.find(SOURCE).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}
