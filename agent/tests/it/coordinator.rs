//! A coordinator in this process, for tests: it keeps what it gets, does as the test says, and shows
//! what it hears in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use agent::task::Task;
use domain::ids::{LeaseId, MachineId};
use domain::lease::Grant;
use domain::record::{Batch, Record};
use proto::wire;
use proto::wire::agent_service_server::{AgentService, AgentServiceServer};
use proto::wire::session_down::Message as Down;
use proto::wire::session_up::Message as Up;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::DEADLINE;

const QUEUE: usize = 10_000;
const HEARTBEAT_MS: u64 = 50;

/// What the coordinator heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Hello(BTreeSet<String>),
    Ready,
    Heartbeat(String),
    Progress(u32, u32),
    Batch(u64),
    /// A file of a model is asked for, from this byte on.
    Fetch(String, u64),
}

/// A model that it gives out.
#[derive(Clone, Debug)]
pub struct Offer {
    pub source: String,
    pub found: wire::FindModelResponse,
    /// By digest.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// How a file's sending goes wrong, after so many bytes.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Breaks(usize),
    Hangs(usize),
}

#[derive(Default)]
struct State {
    session: Option<mpsc::Sender<Result<wire::SessionDown, Status>>>,
    uploads: Vec<mpsc::Sender<Result<wire::BatchAck, Status>>>,
    live: BTreeSet<String>,
    stored: BTreeMap<(String, u64), wire::Batch>,
    /// Batches that came again.
    repeats: usize,
    keeps_acks: bool,
    refuses: Option<u64>,
    offers: Option<Offer>,
    cuts: VecDeque<Cut>,
    hanging: Vec<mpsc::Sender<Result<wire::ModelFileChunk, Status>>>,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    seen: mpsc::Sender<Seen>,
    /// A stream's task ends with its stream.
    streams: TaskTracker,
}

pub struct Coordinator {
    pub url: String,
    service: Service,
    seen: mpsc::Receiver<Seen>,
    _task: Task<()>,
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(QUEUE);
        let service = Service {
            state: Arc::default(),
            seen: sender,
            streams: TaskTracker::new(),
        };
        let server = AgentServiceServer::new(service.clone());
        let task = Task::start(async move {
            let connections = TcpListenerStream::new(listener);
            Server::builder()
                .add_service(server)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        Self {
            url,
            service,
            seen,
            _task: task,
        }
    }

    fn state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.service.state.lock().unwrap())
    }

    /// Waits until something is heard that fits; what was heard before it is given too.
    pub async fn wait(&mut self, what: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut heard = Vec::new();
        let listen = async {
            while !heard.last().is_some_and(&what) {
                heard.push(self.seen.recv().await.expect("a coordinator"));
            }
        };
        let in_time = timeout(DEADLINE, listen).await.is_ok();
        assert!(in_time, "not heard; only {heard:?}");
        heard
    }

    pub async fn ready(&mut self) -> Vec<Seen> {
        self.wait(|seen| *seen == Seen::Ready).await
    }

    /// Waits until the records of a lease hold one that fits.
    pub async fn record(&mut self, lease: LeaseId, what: impl Fn(&Record) -> bool) {
        while !self.records(lease).iter().any(&what) {
            self.wait(|seen| matches!(seen, Seen::Batch(_))).await;
        }
    }

    pub async fn job_finished(&mut self, lease: LeaseId) -> (String, String) {
        self.record(lease, |record| matches!(record, Record::JobFinished(_)))
            .await;
        let last = self.records(lease).pop().unwrap();
        let Record::JobFinished(job) = last else {
            panic!("{last:?} after the last record");
        };
        (job.outcome.to_string(), job.reason)
    }

    async fn say(&self, message: Down) {
        let session = self
            .state(|state| state.session.clone())
            .expect("a session");
        let message = Some(message);
        session
            .send(Ok(wire::SessionDown { message }))
            .await
            .unwrap();
    }

    pub async fn grant(&self, grant: &Grant) {
        self.state(|state| state.live.insert(grant.lease_id.to_string()));
        self.say(Down::Grant(grant.into())).await;
    }

    pub async fn cancel(&self, lease: LeaseId) {
        let lease_id = lease.to_string();
        self.say(Down::Cancel(wire::Cancel { lease_id })).await;
    }

    pub async fn drain(&self) {
        let reason = "maintenance".to_owned();
        self.say(Down::Drain(wire::Drain { reason })).await;
    }

    pub async fn resume(&self) {
        self.say(Down::Resume(wire::Resume {})).await;
    }

    pub async fn upgrade(&self) {
        self.say(Down::Upgrade(wire::Upgrade {})).await;
    }

    /// Ends both streams, as a restart does.
    pub async fn cut(&self) {
        let (session, uploads) =
            self.state(|state| (state.session.take(), std::mem::take(&mut state.uploads)));
        let gone = || Status::unavailable("draining");
        for upload in uploads {
            upload.send(Err(gone())).await.ok();
        }
        if let Some(session) = session {
            session.send(Err(gone())).await.ok();
        }
    }

    pub fn forget_leases(&self) {
        self.state(|state| state.live.clear());
    }

    pub fn keep_acks(&self, keeps: bool) {
        self.state(|state| state.keeps_acks = keeps);
    }

    pub fn refuse(&self, seq: u64) {
        self.state(|state| state.refuses = Some(seq));
    }

    pub fn offer(&self, offer: Offer) {
        self.state(|state| state.offers = Some(offer));
    }

    /// What happens to the next files that are sent, one each.
    pub fn cut_files(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.state(|state| state.cuts.extend(cuts));
    }

    pub fn repeats(&self) -> usize {
        self.state(|state| state.repeats)
    }

    /// Seqs that are stored of a lease.
    pub fn seqs(&self, lease: LeaseId) -> Vec<u64> {
        let lease = lease.to_string();
        self.state(|state| {
            let keys = state.stored.keys();
            keys.filter(|(of, _)| *of == lease)
                .map(|(_, seq)| *seq)
                .collect()
        })
    }

    /// All records of a lease in their order.
    pub fn records(&self, lease: LeaseId) -> Vec<Record> {
        let lease = lease.to_string();
        self.state(|state| {
            let batches = state.stored.iter().filter(|((of, _), _)| *of == lease);
            let batches = batches.map(|(_, batch)| Batch::try_from(batch.clone()).unwrap());
            batches.flat_map(|batch| batch.records).collect()
        })
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn enroll(
        &self,
        _: Request<wire::EnrollRequest>,
    ) -> Result<Response<wire::EnrollResponse>, Status> {
        Err(Status::unimplemented("see the tests of enrol"))
    }

    type SessionStream = ReceiverStream<Result<wire::SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut up = request.into_inner();
        let (down, stream) = mpsc::channel(QUEUE);
        let Service { state, seen, .. } = self.clone();
        self.streams.spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                let heard = match message.message.unwrap() {
                    Up::Hello(hello) => {
                        let unfinished: BTreeSet<_> = hello.unfinished_leases.into_iter().collect();
                        let live = {
                            let mut state = state.lock().unwrap();
                            state.session = Some(down.clone());
                            state.live.intersection(&unfinished).cloned().collect()
                        };
                        let welcome = Down::Welcome(wire::Welcome {
                            machine_id: MachineId::new().to_string(),
                            machine_name: "fake".into(),
                            heartbeat_ms: HEARTBEAT_MS,
                            live_leases: live,
                            coordinator_version: "of the tests".into(),
                        });
                        seen.send(Seen::Hello(unfinished)).await.ok();
                        let message = Some(welcome);
                        down.send(Ok(wire::SessionDown { message })).await.ok();
                        continue;
                    }
                    Up::Heartbeat(beat) => Seen::Heartbeat(beat.lease_id),
                    Up::Ready(_) => Seen::Ready,
                    Up::Progress(p) => Seen::Progress(p.launches_done, p.launches_total),
                };
                seen.send(heard).await.ok();
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type UploadStream = ReceiverStream<Result<wire::BatchAck, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<wire::Batch>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let mut batches = request.into_inner();
        let (acks, stream) = mpsc::channel(QUEUE);
        let Service { state, seen, .. } = self.clone();
        state.lock().unwrap().uploads.push(acks.clone());
        self.streams.spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                let (lease_id, seq) = (batch.lease_id.clone(), batch.seq);
                let answer = {
                    let mut state = state.lock().unwrap();
                    let is_end = batch.records.iter().any(|record| {
                        matches!(record.record, Some(wire::record::Record::JobFinished(_)))
                    });
                    if state.refuses == Some(seq) {
                        Some(Err(Status::invalid_argument("no such metric")))
                    } else {
                        if is_end {
                            state.live.remove(&lease_id);
                        }
                        let key = (lease_id.clone(), seq);
                        if state.stored.insert(key, batch).is_some() {
                            state.repeats += 1;
                        }
                        (!state.keeps_acks).then_some(Ok(wire::BatchAck { lease_id, seq }))
                    }
                };
                // Told before it is acknowledged: what the agent does then comes after it.
                let refused = matches!(answer, Some(Err(_)));
                if !refused {
                    seen.send(Seen::Batch(seq)).await.ok();
                }
                if let Some(answer) = answer {
                    acks.send(answer).await.ok();
                }
                if refused {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn find_model(
        &self,
        request: Request<wire::FindModelRequest>,
    ) -> Result<Response<wire::FindModelResponse>, Status> {
        let wire::FindModelRequest { lease_id, source } = request.into_inner();
        let state = self.state.lock().unwrap();
        assert!(state.live.contains(&lease_id), "asked under no lease");
        let offer = state.offers.as_ref();
        match offer.filter(|offer| offer.source == source) {
            Some(offer) => Ok(Response::new(offer.found.clone())),
            None => Err(Status::not_found("none to give")),
        }
    }

    type FetchModelFileStream = ReceiverStream<Result<wire::ModelFileChunk, Status>>;

    async fn fetch_model_file(
        &self,
        request: Request<wire::FetchModelFileRequest>,
    ) -> Result<Response<Self::FetchModelFileStream>, Status> {
        const CHUNK_BYTES: usize = 1000;
        let wire::FetchModelFileRequest { digest, offset, .. } = request.into_inner();
        let (chunks, stream) = mpsc::channel(QUEUE);
        let seen = Seen::Fetch(digest.clone(), offset);
        self.seen.send(seen).await.ok();
        let mut state = self.state.lock().unwrap();
        let offer = state.offers.as_ref().unwrap();
        let content = offer.contents[&digest][offset as usize..].to_vec();
        let cut = state.cuts.pop_front();
        let sent = match cut {
            Some(Cut::Breaks(bytes) | Cut::Hangs(bytes)) => &content[..bytes],
            None => &content[..],
        };
        for data in sent.chunks(CHUNK_BYTES) {
            let data = data.to_vec();
            chunks.try_send(Ok(wire::ModelFileChunk { data })).unwrap();
        }
        match cut {
            Some(Cut::Breaks(_)) => {
                let gone = Status::unavailable("draining");
                chunks.try_send(Err(gone)).unwrap();
            }
            Some(Cut::Hangs(_)) => state.hanging.push(chunks),
            None => {}
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
