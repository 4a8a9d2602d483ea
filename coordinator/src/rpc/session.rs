//! One machine's control stream.
//!
//! ```text
//!   connected ──Hello──▶ welcomed ──Ready──▶ ready ──a job is there──▶ granted
//!       │ 10 s, or         │   ▲               │  ▲                     │
//!       ▼ nonsense         │   └───────────────┼──┴──Ready──────────────┘
//!     ended ◀──────────────┴── stream's end, newer session, draining
//! ```
//!
//! Ready: the agent can take a job; the session waits to be woken rather than asks. Granted: heartbeats
//! renew the lease, and a wake tells when it was cancelled or has expired. State that matters is in
//! Postgres; what stands here is only what the agent has said and was told.

use std::time::Duration;

use domain::ids::{LeaseId, MachineId};
use domain::lease::{Grant, HEARTBEAT};
use domain::machine::Inventory;
use proto::wire;
use proto::wire::session_down::Message as Down;
use proto::wire::session_up::Message as Up;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Status, Streaming};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::convert::refused;
use super::{Context, draining};
use crate::dispatch::hub::Seated;
use crate::dispatch::leases::Renewal;
use crate::dispatch::pulse::Answer;
use crate::dispatch::{self, Error};

/// A client that connects and says nothing is let go after this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Looks without being woken this often: a notification may be lost with a connection.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Leases whose batches an agent may still hold; each is a folder on its disk.
const MAX_UNFINISHED: usize = 10_000;

/// What an agent is told. A channel makes places for 32 messages at once, and some are large.
type Said = Result<Box<wire::SessionDown>, Status>;

pub struct Session {
    context: Context,
    machine_id: MachineId,
    down: mpsc::Sender<Said>,
    /// The agent can take a job.
    ready: bool,
    /// The lease it works on, as far as we told it.
    lease: Option<LeaseId>,
    /// Why it gets no job, as we told it.
    rest: Option<String>,
    /// Whose work what happens is about.
    of_job: Span,
    /// The last heartbeat, while it is not committed.
    beat: Option<Beat>,
}

/// The lease that it named, and what it will have found.
type Beat = (Option<LeaseId>, Answer);

/// What happened; [`Session::handle`] decides.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is not kept"
)]
enum Event {
    Said(Up),
    /// A heartbeat was taken; of the lease that it named, what was found.
    Beaten(Result<Option<(LeaseId, Renewal)>, Error>),
    /// The agent closed its side, or is gone.
    Gone,
    Broken(Status),
    Woken,
    ToUpgrade,
    Replaced,
    Draining,
}

/// Why a session ends: with a word for the agent, or without.
type Ended = Option<Status>;

impl Session {
    pub fn new(context: Context, machine_id: MachineId, down: mpsc::Sender<Said>) -> Self {
        Self {
            context,
            machine_id,
            down,
            ready: false,
            lease: None,
            rest: None,
            of_job: Span::none(),
            beat: None,
        }
    }

    pub async fn run(mut self, mut up: Streaming<wire::SessionUp>) {
        let machine_id = self.machine_id;
        // What is needed for moments only does not lie in every session all the time.
        let ended = match Box::pin(self.greet(&mut up)).await {
            Ok(seated) => self.converse(&mut up, &seated).await,
            Err(ended) => ended,
        };
        if let Some(status) = ended {
            tracing::debug!(%machine_id, %status, "a session ended");
            // An error means that the agent is gone.
            drop(self.down.send(Err(status)).await);
        }
    }

    async fn converse(&mut self, up: &mut Streaming<wire::SessionUp>, seated: &Seated) -> Ended {
        let stop = self.context.stop.clone();
        let down = self.down.clone();
        let mut look = interval(LOOK_ANYWAY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                said = up.message() => heard(said),
                beaten = beaten(&mut self.beat) => {
                    self.beat = None;
                    Event::Beaten(beaten)
                }
                () = seated.woken() => Event::Woken,
                _ = look.tick() => Event::Woken,
                () = seated.to_upgrade() => Event::ToUpgrade,
                () = seated.replaced() => Event::Replaced,
                () = stop.soft() => Event::Draining,
                () = down.closed() => Event::Gone,
            };
            let of_job = self.of_job.clone();
            if let Err(ended) = Box::pin(self.handle(event, seated))
                .instrument(of_job)
                .await
            {
                return ended;
            }
        }
    }

    async fn handle(&mut self, event: Event, seated: &Seated) -> Result<(), Ended> {
        match event {
            Event::Said(Up::Hello(_)) => Err(Some(Status::invalid_argument(
                "hello comes once, at the beginning",
            ))),
            Event::Said(Up::Heartbeat(heartbeat)) => self.heartbeat(&heartbeat).await,
            Event::Beaten(found) => match found.map_err(|why| Some(why.into()))? {
                Some((lease_id, found)) => self.tell(lease_id, found).await,
                None => Ok(()),
            },
            Event::Said(Up::Ready(wire::Ready {})) => {
                self.ready = true;
                self.lease = None;
                self.of_job = Span::none();
                self.next_job(seated).await
            }
            // Progress is in the batches; this is a courtesy to people who watch.
            Event::Said(Up::Progress(_)) => Ok(()),
            Event::Woken => {
                self.look_after_lease().await?;
                self.next_job(seated).await
            }
            Event::ToUpgrade => {
                // It says so anew when it is, with one release or the other.
                self.ready = false;
                self.say(Down::Upgrade(wire::Upgrade {})).await
            }
            Event::Gone => Err(None),
            Event::Broken(status) => Err(Some(status)),
            Event::Replaced => Err(Some(replaced())),
            Event::Draining => Err(Some(draining())),
        }
    }

    /// Hello and Welcome.
    async fn greet(&mut self, up: &mut Streaming<wire::SessionUp>) -> Result<Seated, Ended> {
        let Ok(first) = timeout(HELLO_TIMEOUT, up.message()).await else {
            return Err(Some(Status::deadline_exceeded("no hello came")));
        };
        let hello = match heard(first) {
            Event::Said(Up::Hello(hello)) => hello,
            Event::Broken(status) => return Err(Some(status)),
            Event::Gone => return Err(None),
            Event::Said(_)
            | Event::Beaten(_)
            | Event::Woken
            | Event::ToUpgrade
            | Event::Replaced
            | Event::Draining => {
                return Err(Some(Status::invalid_argument(
                    "a session begins with hello",
                )));
            }
        };
        self.check_protocol(&hello).await?;
        let (inventory, unfinished) = understand(hello).map_err(Some)?;
        let session = Uuid::now_v7();
        // Seated before anything is read, so that no wake falls between.
        let seated = self.context.dispatch.hub().sit(self.machine_id, session);
        let welcome = self
            .context
            .dispatch
            .welcome(self.machine_id, session, &inventory, &unfinished)
            .await
            .map_err(|why| Some(why.into()))?;
        self.lease = welcome.live_leases.first().copied();
        self.say(Down::Welcome(wire::Welcome {
            machine_id: self.machine_id.to_string(),
            machine_name: welcome.machine_name,
            heartbeat_ms: HEARTBEAT.as_millis() as u64,
            live_leases: welcome
                .live_leases
                .iter()
                .map(ToString::to_string)
                .collect(),
            coordinator_version: dispatch::VERSION.to_owned(),
        }))
        .await?;
        Ok(seated)
    }

    async fn check_protocol(&self, hello: &wire::Hello) -> Result<(), Ended> {
        let protocol = hello.protocol_version;
        if protocol == proto::PROTOCOL_VERSION {
            return Ok(());
        }
        let inventory = hello.inventory.as_ref();
        let version = inventory.map_or("unknown", |inventory| inventory.agent_version.as_str());
        let dispatch = &self.context.dispatch;
        let noted = dispatch.refuse_protocol(self.machine_id, protocol, version);
        noted.await.map_err(|why| Some(why.into()))?;
        Err(Some(Status::failed_precondition(format!(
            "the agent {version} speaks version {protocol} of the protocol and the coordinator {} \
             version {}: install agents and coordinator of the same release",
            dispatch::VERSION,
            proto::PROTOCOL_VERSION
        ))))
    }

    async fn heartbeat(&mut self, heartbeat: &wire::Heartbeat) -> Result<(), Ended> {
        let lease_id = match heartbeat.lease_id.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|why: domain::ids::BadId| {
                Some(Status::invalid_argument(format!(
                    "heartbeat.lease_id: {why}"
                )))
            })?),
        };
        let taken = self.context.dispatch.heartbeat(self.machine_id, lease_id);
        let answer = taken.await.map_err(|why| Some(why.into()))?;
        // A grant does not wait for it. The answer to one before that is still under way is not missed.
        self.beat = Some((lease_id, answer));
        Ok(())
    }

    async fn look_after_lease(&mut self) -> Result<(), Ended> {
        let Some(lease_id) = self.lease else {
            return Ok(());
        };
        let found = self
            .context
            .dispatch
            .ended_early(self.machine_id, lease_id)
            .await;
        match found.map_err(|why| Some(why.into()))? {
            Some(found) => self.tell(lease_id, found).await,
            None => Ok(()),
        }
    }

    async fn tell(&mut self, lease_id: LeaseId, found: Renewal) -> Result<(), Ended> {
        let name = lease_id.to_string();
        if found != Renewal::Renewed {
            tracing::info!(
                lease_id = name,
                ?found,
                "an agent is told of its lease's end"
            );
        }
        let message = match found {
            Renewal::Renewed => Down::Renewed(wire::Renewed { lease_id: name }),
            Renewal::Cancelled => Down::Cancel(wire::Cancel { lease_id: name }),
            Renewal::Lost { reason } => Down::LeaseLost(wire::LeaseLost {
                lease_id: name,
                reason,
            }),
        };
        // Told once: a heartbeat that still names it asks for it again.
        if !matches!(message, Down::Renewed(_)) && self.lease == Some(lease_id) {
            self.lease = None;
        }
        self.say(message).await
    }

    /// Hands over a job, or says why there will be none. An agent that rests is first told that it need
    /// not any more.
    async fn next_job(&mut self, seated: &Seated) -> Result<(), Ended> {
        if self.rest.is_some() {
            return self.look_after_rest().await;
        }
        if self.grant(seated).await? {
            return Ok(());
        }
        self.look_after_rest().await
    }

    /// Whether there was a job.
    async fn grant(&mut self, seated: &Seated) -> Result<bool, Ended> {
        if !self.ready || seated.is_replaced() {
            return Ok(false);
        }
        let granted = self.context.dispatch.grant(self.machine_id).await;
        let Some(grant) = granted.map_err(|why| Some(why.into()))? else {
            return Ok(false);
        };
        if seated.is_replaced() {
            // The newer session may have been welcomed without it, and nobody would hear of it here.
            let taken_back = self
                .context
                .dispatch
                .take_back(self.machine_id, grant.lease_id);
            taken_back.await.map_err(|why| Some(why.into()))?;
            return Err(Some(replaced()));
        }
        self.ready = false;
        self.lease = Some(grant.lease_id);
        let Grant {
            run_id,
            job_id,
            lease_id,
            ..
        } = &grant;
        self.of_job = tracing::info_span!("job", %run_id, %job_id, %lease_id);
        self.say(Down::Grant((&grant).into())).await?;
        Ok(true)
    }

    async fn look_after_rest(&mut self) -> Result<(), Ended> {
        let rest = self.context.dispatch.rest_of(self.machine_id).await;
        let rest = rest.map_err(|why| Some(why.into()))?;
        if rest == self.rest {
            return Ok(());
        }
        self.rest.clone_from(&rest);
        // It takes back that it is ready, and says so anew when it may be.
        self.ready = false;
        self.say(match rest {
            Some(reason) => Down::Drain(wire::Drain { reason }),
            None => Down::Resume(wire::Resume {}),
        })
        .await
    }

    async fn say(&self, message: Down) -> Result<(), Ended> {
        let down = Box::new(wire::SessionDown {
            message: Some(message),
        });
        self.down.send(Ok(down)).await.map_err(|_| None)
    }
}

fn replaced() -> Status {
    Status::aborted(
        "a newer session of this machine has taken over: is another agent running with the same identity?",
    )
}

async fn beaten(beat: &mut Option<Beat>) -> Result<Option<(LeaseId, Renewal)>, Error> {
    match beat {
        Some((lease_id, answer)) => Ok(lease_id.zip(answer.found().await?)),
        None => std::future::pending().await,
    }
}

fn heard(said: Result<Option<wire::SessionUp>, Status>) -> Event {
    match said {
        Ok(Some(wire::SessionUp {
            message: Some(message),
        })) => Event::Said(message),
        Ok(Some(wire::SessionUp { message: None })) => Event::Broken(Status::unimplemented(
            "a message that this coordinator does not know: is the agent newer?",
        )),
        Ok(None) => Event::Gone,
        Err(status) => Event::Broken(status),
    }
}

fn understand(hello: wire::Hello) -> Result<(Inventory, Vec<LeaseId>), Status> {
    let wire::Hello {
        protocol_version: _,
        inventory,
        unfinished_leases,
    } = hello;
    let inventory = inventory
        .ok_or_else(|| Status::invalid_argument("hello.inventory is missing"))?
        .try_into()
        .map_err(refused)?;
    if unfinished_leases.len() > MAX_UNFINISHED {
        return Err(Status::invalid_argument(format!(
            "hello.unfinished_leases: {} entries; at most {MAX_UNFINISHED}",
            unfinished_leases.len()
        )));
    }
    let leases = unfinished_leases
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, domain::ids::BadId>>()
        .map_err(|why| Status::invalid_argument(format!("hello.unfinished_leases: {why}")))?;
    Ok((inventory, leases))
}
