//! A fake agent: it speaks the protocol over real TLS, and what it uploads is made up.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ids::{LaunchId, LeaseId};
use domain::job::{JobOutcome, LaunchOutcome};
use domain::lease::Grant;
use domain::machine::Inventory;
use domain::metric::Metric;
use domain::model::{Dtype, ModelIdentity};
use domain::record::{
    Batch, Canary, Environment, JobFinished, LaunchFinished, LaunchHeat, LaunchModel,
    LaunchStarted, Reading, Record, SensorsCost,
};
use domain::worker::{Iteration, Phase, Sample, Started};
use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use proto::wire::session_down::Message as Down;
use proto::wire::session_up::Message as Up;
use service::tls::{AgentKey, CaCertificate, ClientIdentity};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::world::{Operator, World, soon};

pub fn inventory(hostname: &str) -> Inventory {
    Inventory {
        identity: format!("identity of {hostname}"),
        hostname: hostname.to_owned(),
        os: "macos".to_owned(),
        os_version: "26.1".to_owned(),
        arch: "arm64".to_owned(),
        chip: "Apple M3 Max".to_owned(),
        gpu_cores: Some(40),
        cpu_cores: 16,
        memory_bytes: 128_000_000_000,
        boot_id: "boot".to_owned(),
        agent_version: "fake".to_owned(),
        labels: BTreeMap::from([("lab".to_owned(), "one".to_owned())]),
        ..Inventory::default()
    }
}

/// An enrolled machine; it can connect any number of times.
#[derive(Clone, Debug)]
pub struct Machine {
    pub inventory: Inventory,
    pub certificate: String,
    pub key: String,
    url: String,
    ca: CaCertificate,
}

pub async fn enrol(world: &World, token: &str, inventory: &Inventory) -> Result<Machine, Status> {
    let key = AgentKey::generate().unwrap();
    let request = wire::EnrollRequest {
        token: token.to_owned(),
        csr_pem: key.request().unwrap(),
        inventory: Some(inventory.into()),
    };
    let mut client = AgentServiceClient::new(world.channel().await);
    let enrolled = client.enroll(request).await?.into_inner();
    assert_eq!(enrolled.ca_pem.trim(), world.ca().pem().trim());
    Ok(Machine {
        inventory: inventory.clone(),
        certificate: enrolled.certificate_pem,
        key: secrecy::ExposeSecret::expose_secret(&key.to_pem()).to_owned(),
        url: world.url(),
        ca: world.ca(),
    })
}

/// Enrols a machine of this host name.
pub async fn join(world: &World, operator: &mut Operator, hostname: &str) -> Machine {
    let token = operator.token("join", 1).await;
    enrol(world, &token.expose(), &inventory(hostname))
        .await
        .unwrap()
}

impl Machine {
    pub async fn client(&self) -> AgentServiceClient<Channel> {
        let identity = ClientIdentity::new(self.certificate.clone(), self.key.clone().into());
        let endpoint = service::tls::endpoint(&self.url, Some(&self.ca), Some(&identity)).unwrap();
        AgentServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// Why the handshake fails, where it does.
    pub async fn try_client(&self) -> Result<(), String> {
        let identity = ClientIdentity::new(self.certificate.clone(), self.key.clone().into());
        let endpoint = service::tls::endpoint(&self.url, Some(&self.ca), Some(&identity)).unwrap();
        let mut client = AgentServiceClient::new(endpoint.connect_lazy());
        match client.upload(tokio_stream::empty()).await {
            Err(status) if std::error::Error::source(&status).is_some() => {
                Err(service::tls::explain(&status))
            }
            _ => Ok(()),
        }
    }

    /// Connects and is welcomed.
    pub async fn connect(&self) -> FakeAgent {
        self.connect_with(&[]).await
    }

    pub async fn connect_with(&self, unfinished: &[LeaseId]) -> FakeAgent {
        let hello = wire::Hello {
            protocol_version: proto::PROTOCOL_VERSION,
            inventory: Some((&self.inventory).into()),
            unfinished_leases: unfinished.iter().map(ToString::to_string).collect(),
        };
        self.say_hello(hello).await.unwrap()
    }

    pub async fn say_hello(&self, hello: wire::Hello) -> Result<FakeAgent, Status> {
        let mut client = self.client().await;
        let (up, said) = mpsc::channel(16);
        up.send(message(Up::Hello(hello))).await.unwrap();
        let mut down = client
            .session(ReceiverStream::new(said))
            .await?
            .into_inner();
        let Some(Down::Welcome(welcome)) = next(&mut down).await? else {
            panic!("no welcome");
        };
        Ok(FakeAgent {
            client,
            welcome,
            up,
            down,
        })
    }
}

fn message(message: Up) -> wire::SessionUp {
    wire::SessionUp {
        message: Some(message),
    }
}

async fn next(down: &mut Streaming<wire::SessionDown>) -> Result<Option<Down>, Status> {
    let heard = soon("a word of the coordinator", down.message()).await?;
    Ok(heard.and_then(|down| down.message))
}

/// One session of a machine.
pub struct FakeAgent {
    pub client: AgentServiceClient<Channel>,
    pub welcome: wire::Welcome,
    up: mpsc::Sender<wire::SessionUp>,
    down: Streaming<wire::SessionDown>,
}

impl FakeAgent {
    pub async fn ready(&self) {
        self.up
            .send(message(Up::Ready(wire::Ready {})))
            .await
            .unwrap();
    }

    pub async fn heartbeat(&self, lease: LeaseId) {
        let lease_id = lease.to_string();
        self.up
            .send(message(Up::Heartbeat(wire::Heartbeat { lease_id })))
            .await
            .unwrap();
    }

    pub async fn hear(&mut self) -> Result<Option<Down>, Status> {
        next(&mut self.down).await
    }

    pub async fn granted(&mut self) -> Grant {
        match self.hear().await.unwrap() {
            Some(Down::Grant(grant)) => grant.try_into().unwrap(),
            other => panic!("no grant but {other:?}"),
        }
    }

    /// Sends batches over one stream; says the acknowledged numbers, or why the stream ended.
    pub async fn upload(&mut self, batches: Vec<Batch>) -> Result<Vec<u64>, Status> {
        let count = batches.len();
        let batches: Vec<wire::Batch> = batches.into_iter().map(Into::into).collect();
        let mut acks = self
            .client
            .upload(tokio_stream::iter(batches))
            .await?
            .into_inner();
        let mut numbers = Vec::with_capacity(count);
        while let Some(ack) = soon("an acknowledgement", acks.message()).await? {
            numbers.push(ack.seq);
        }
        Ok(numbers)
    }

    /// Does the whole job in one batch per launch and one for the end.
    pub async fn do_job(&mut self, grant: &Grant) {
        self.do_launches(grant, to_do(grant)).await;
    }

    /// Does these launches and calls the job done.
    pub async fn do_launches(&mut self, grant: &Grant, launches: Vec<(String, u32)>) {
        let mut batches = Vec::new();
        for (case_key, ordinal) in launches {
            let seq = batches.len() as u64;
            batches.push(batch(grant, seq, launch(&case_key, ordinal).records()));
        }
        let end = batch(
            grant,
            batches.len() as u64,
            vec![finished(JobOutcome::Succeeded)],
        );
        batches.push(end);
        let count = batches.len() as u64;
        assert_eq!(
            self.upload(batches).await.unwrap(),
            (0..count).collect::<Vec<_>>()
        );
    }
}

/// The launches that a grant asks for.
pub fn to_do(grant: &Grant) -> Vec<(String, u32)> {
    let all = grant
        .cases
        .iter()
        .flat_map(|case| (0..grant.protocol.launches).map(move |ordinal| (case.key(), ordinal)));
    let kept = |(key, ordinal): &(String, u32)| {
        grant
            .finished
            .iter()
            .any(|f| f.case_key == *key && f.ordinal == *ordinal)
    };
    all.filter(|launch| !kept(launch)).collect()
}

pub fn batch(grant: &Grant, seq: u64, records: Vec<Record>) -> Batch {
    Batch {
        lease_id: grant.lease_id,
        seq,
        records,
    }
}

pub fn finished(outcome: JobOutcome) -> Record {
    Record::JobFinished(JobFinished {
        outcome,
        reason: String::new(),
    })
}

/// One made-up launch.
#[expect(
    clippy::struct_field_names,
    reason = "ids are called the same everywhere"
)]
pub struct Launch {
    pub launch_id: LaunchId,
    pub case_key: String,
    pub ordinal: u32,
    pub outcome: LaunchOutcome,
}

pub fn launch(case_key: &str, ordinal: u32) -> Launch {
    Launch {
        launch_id: LaunchId::new(),
        case_key: case_key.to_owned(),
        ordinal,
        outcome: LaunchOutcome::Succeeded,
    }
}

impl Launch {
    /// Everything that a real one would upload: start, conditions, a warm-up and two measured
    /// iterations, a reading, the end.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![self.started(), self.conditions()];
        records.extend((0..3).map(|ordinal| self.iteration(ordinal)));
        records.push(Record::Reading(Reading {
            at: OffsetDateTime::now_utc(),
            sensor: "cpu_ratio".to_owned(),
            value: 0.25,
        }));
        records.push(self.heat());
        records.push(self.finished());
        records
    }

    fn heat(&self) -> Record {
        Record::LaunchHeat(LaunchHeat {
            launch_id: self.launch_id,
            cooldown: Duration::from_millis(1500),
            canary_before: None,
            canary_after: Some(Canary {
                gemm_tflops: 10.0,
                gemm_ratio: 0.9,
                stream_gbps: 400.0,
                stream_ratio: 1.0,
            }),
            trend_pct: Some(-0.5),
            telemetry_gap: Duration::from_millis(1100),
            sensors_cost: Some(SensorsCost {
                percent: 0.2,
                low: -0.1,
                high: 0.5,
            }),
        })
    }

    pub fn started(&self) -> Record {
        Record::LaunchStarted(LaunchStarted {
            launch_id: self.launch_id,
            case_key: self.case_key.clone(),
            ordinal: self.ordinal,
            position: self.ordinal,
            started_at: OffsetDateTime::now_utc(),
            seed: u64::MAX,
        })
    }

    fn conditions(&self) -> Record {
        Record::LaunchModel(LaunchModel {
            launch_id: self.launch_id,
            model: Some(ModelIdentity {
                digest: "0f".repeat(32),
                model_type: "llama".to_owned(),
                label: "nano-llama".to_owned(),
                source: "synthetic:nano-llama".to_owned(),
                dtype: Dtype::Bf16,
                quantisation: "none".to_owned(),
                parameters: 1000,
                weight_bytes: 2000,
                decode_bytes: 2000,
                kv_bytes_per_token: 16,
                synthetic: true,
                config_json: "{}".to_owned(),
            }),
            environment: Environment {
                worker: Started {
                    mlx_version: "0.32.2".to_owned(),
                    mlx_device: "cpu".to_owned(),
                    ..Started::default()
                },
                os: "macos".to_owned(),
                os_version: "26.1".to_owned(),
                os_build: String::new(),
                kernel: "25".to_owned(),
                boot_id: "boot".to_owned(),
                agent_version: "fake".to_owned(),
                agent_commit: "unknown".to_owned(),
                wired_limit_bytes: None,
                power_source: Some("ac".to_owned()),
                low_power_mode: None,
            },
        })
    }

    pub fn iteration(&self, ordinal: u32) -> Record {
        let phase = if ordinal == 0 {
            Phase::Warmup
        } else {
            Phase::Measured
        };
        let tokens = u64::from(ordinal) + 1;
        Record::Iteration {
            launch_id: self.launch_id,
            iteration: Iteration {
                ordinal,
                phase,
                mode: "pipelined".to_owned(),
                started: Duration::from_millis(10),
                duration: Duration::from_millis(500),
                work: tokens,
                token_times: (1..=tokens).map(Duration::from_millis).collect(),
                samples: vec![Sample {
                    metric: Metric::DecodeTps,
                    value: 100.0 + f64::from(self.ordinal),
                }],
                reasons: Vec::new(),
                token_ids_sha256: String::new(),
            },
        }
    }

    pub fn finished(&self) -> Record {
        Record::LaunchFinished(LaunchFinished {
            launch_id: self.launch_id,
            outcome: self.outcome,
            message: String::new(),
            finished_at: OffsetDateTime::now_utc(),
            steady: true,
            warmup_iterations: 1,
            reasons: Vec::new(),
            // A byte that Postgres cannot keep.
            stderr_tail: "said \0 this".to_owned(),
            exit_code: Some(0),
            signal: None,
        })
    }
}
