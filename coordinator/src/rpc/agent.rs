//! The agents' service: enrolment, the two streams of a machine, and the models that it lacks.

use std::pin::Pin;

use domain::record::Batch;
use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use proto::wire;
use proto::wire::agent_service_server::AgentService;
use service::tls::PeerIdentity;
use service::token::{Token, TokenKind};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Extensions, Request, Response, Status, Streaming, async_trait};
use tracing::Instrument;

use super::convert::refused;
use super::models::Models;
use super::session::Session;
use super::{Context, draining};
use crate::dispatch::ingest;

/// Batches of one agent on their way to disk; beyond them it waits, and so does its stream.
const MAX_IN_FLIGHT: usize = 32;
/// Answers that one agent has not read yet.
const MAX_UNREAD: usize = 64;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub struct Agents {
    context: Context,
    models: Models,
}

impl Agents {
    pub fn new(context: Context, models: Models) -> Self {
        Self { context, models }
    }

    /// The machine whose certificate the connection showed.
    async fn machine(&self, extensions: &Extensions) -> Result<PeerIdentity, Status> {
        let peer = service::tls::peer(extensions)
            .map_err(|why| Status::unauthenticated(why.to_string()))?;
        Ok(self.context.dispatch.machine_of(peer).await?)
    }
}

#[async_trait]
impl AgentService for Agents {
    async fn enroll(
        &self,
        request: Request<wire::EnrollRequest>,
    ) -> Result<Response<wire::EnrollResponse>, Status> {
        let from = service::tls::peer_address(request.extensions());
        let wire::EnrollRequest {
            token,
            csr_pem,
            inventory,
        } = request.into_inner();
        let token = token
            .parse::<Token>()
            .and_then(|token| token.of_kind(TokenKind::Join))
            .map_err(|why| Status::unauthenticated(why.to_string()))?;
        self.context.dispatch.attempts().admit(from, &token)?;
        let inventory = inventory
            .ok_or_else(|| Status::invalid_argument("inventory is missing"))?
            .try_into()
            .map_err(refused)?;
        let now = OffsetDateTime::now_utc();
        let enrolled = self
            .context
            .dispatch
            .enrol(&token, &csr_pem, &inventory, now)
            .await;
        self.context
            .dispatch
            .attempts()
            .note(from, &token, &enrolled);
        let enrolled = enrolled?;
        Ok(Response::new(wire::EnrollResponse {
            machine_id: enrolled.machine_id.to_string(),
            certificate_pem: enrolled.certificate_pem,
            ca_pem: enrolled.ca_pem,
        }))
    }

    type SessionStream = Answers<wire::SessionDown>;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let machine_id = self.machine(request.extensions()).await?.machine;
        let (down, answers) = mpsc::channel(MAX_UNREAD);
        let session = Session::new(self.context.clone(), machine_id, down);
        let stop = self.context.stop.clone();
        let of_machine = tracing::info_span!("session", %machine_id);
        let converse = async move {
            tokio::select! {
                () = session.run(request.into_inner()) => {}
                () = stop.hard() => {}
            }
        };
        self.context.tasks.spawn(converse.instrument(of_machine));
        let answers = ReceiverStream::new(answers).map(|said| said.map(|said| *said));
        Ok(Response::new(Box::pin(answers)))
    }

    type UploadStream = Answers<wire::BatchAck>;

    async fn upload(
        &self,
        request: Request<Streaming<wire::Batch>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let machine = self.machine(request.extensions()).await?;
        let of_machine = tracing::info_span!("upload", machine_id = %machine.machine);
        let (acks, answers) = mpsc::channel(MAX_UNREAD);
        let upload = Upload {
            context: self.context.clone(),
            stream: ingest::Stream::of(machine),
            acks,
        };
        let stop = self.context.stop.clone();
        let receive = async move {
            tokio::select! {
                () = upload.run(request.into_inner()) => {}
                () = stop.hard() => {}
            }
        };
        self.context.tasks.spawn(receive.instrument(of_machine));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn find_model(
        &self,
        request: Request<wire::FindModelRequest>,
    ) -> Result<Response<wire::FindModelResponse>, Status> {
        let machine = self.machine(request.extensions()).await?.machine;
        let found = self.models.find(machine, request.into_inner()).await?;
        Ok(Response::new(found))
    }

    type FetchModelFileStream = Answers<wire::ModelFileChunk>;

    async fn fetch_model_file(
        &self,
        request: Request<wire::FetchModelFileRequest>,
    ) -> Result<Response<Self::FetchModelFileStream>, Status> {
        let machine = self.machine(request.extensions()).await?.machine;
        let chunks = self.models.fetch(machine, request).await?;
        Ok(Response::new(Box::pin(chunks)))
    }
}

/// One agent's data stream. Acknowledgements go out in the order of the batches, each after its commit;
/// the first batch that is refused ends the stream, so that the agent knows which one it was.
struct Upload {
    context: Context,
    stream: ingest::Stream,
    acks: mpsc::Sender<Result<wire::BatchAck, Status>>,
}

impl Upload {
    async fn run(self, mut batches: Streaming<wire::Batch>) {
        let mut stored = FuturesOrdered::new();
        let ended = loop {
            tokio::select! {
                batch = batches.message(), if stored.len() < MAX_IN_FLIGHT => match batch {
                    Ok(Some(batch)) => match self.hand_in(batch).await {
                        Ok(answer) => stored.push_back(answer),
                        Err(status) => break Some(status),
                    },
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                },
                Some(answer) = stored.next() => {
                    if !self.tell(answer).await {
                        return;
                    }
                }
                () = self.context.stop.soft() => break Some(draining()),
                () = self.acks.closed() => return,
            }
        };
        // What was handed in is on its way to disk: its agent should hear of it.
        while let Some(answer) = stored.next().await {
            if !self.tell(answer).await {
                return;
            }
        }
        if let Some(status) = ended {
            // An error means that the agent is gone.
            drop(self.acks.send(Err(status)).await);
        }
    }

    async fn hand_in(
        &self,
        batch: wire::Batch,
    ) -> Result<impl Future<Output = Result<wire::BatchAck, Status>> + use<>, Status> {
        let ack = wire::BatchAck {
            lease_id: batch.lease_id.clone(),
            seq: batch.seq,
        };
        let batch: Batch = batch
            .try_into()
            .map_err(|why| Status::invalid_argument(format!("{}: {why}", name(&ack))))?;
        let stored = self.context.dispatch.upload(&self.stream, batch).await?;
        Ok(async move {
            stored.await.map_err(|why| {
                let status = Status::from(why);
                match status.code() {
                    // The agent sets this one aside and goes on with the next.
                    Code::InvalidArgument => {
                        Status::invalid_argument(format!("{}: {}", name(&ack), status.message()))
                    }
                    _ => status,
                }
            })?;
            Ok(ack)
        })
    }

    /// False when the stream has ended.
    async fn tell(&self, answer: Result<wire::BatchAck, Status>) -> bool {
        let last = answer.is_err();
        self.acks.send(answer).await.is_ok() && !last
    }
}

fn name(ack: &wire::BatchAck) -> String {
    format!("batch {} of lease {}", ack.seq, ack.lease_id)
}
