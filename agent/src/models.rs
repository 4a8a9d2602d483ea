//! Models that a job needs and this machine does not have: got from the coordinator before anything of the
//! job is measured, into Hugging Face's own cache, where the worker and everybody's tools look.
//!
//! ```text
//!   held? ──no──▶ ask the coordinators ──none has it──▶ the worker will say what is missing
//!                    ▲      │ files
//!                    │      ▼
//!                    │   would fit? room? ──▶ each file, from where it was cut ──▶ kept
//!                    └── cut, busy ◀─────────────────┘
//! ```
//!
//! A link of its own: what is large must not stand before heartbeats.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use domain::expand::would_not_fit;
use domain::hub::{HubFile, HubModel, Snapshot};
use domain::ids::LeaseId;
use domain::job::JobOutcome;
use domain::lease::Grant;
use domain::model::{Dtype, ModelRef, ModelSource};
use proto::wire::agent_service_client::AgentServiceClient;
use proto::{MAX_MESSAGE_BYTES, Refusal, wire};
use service::hub::{self, Cache, Part};
use service::tls::explain;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::pauses::Pauses;

type Client = AgentServiceClient<Channel>;

const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", would_not_fit(*needs_bytes, *has_bytes))]
    TooLarge { needs_bytes: u64, has_bytes: u64 },
    #[error("{model} cannot be downloaded from the coordinator: {why}")]
    Refused { model: HubModel, why: String },
    #[error(
        "{model} from the coordinator: {damage}; fetch it anew there: `mlx-fleet model remove hf://{repository}`, \
         then `mlx-fleet model fetch {model}`",
        repository = model.repository
    )]
    Damaged { model: HubModel, damage: String },
    #[error("{model} cannot be kept here: {why}")]
    Disk { model: HubModel, why: String },
}

impl Error {
    /// How it ends the job.
    pub fn outcome(&self) -> JobOutcome {
        match self {
            Self::TooLarge { .. } => JobOutcome::Skipped,
            Self::Refused { .. } | Self::Damaged { .. } | Self::Disk { .. } => JobOutcome::Parked,
        }
    }
}

/// Why a try came to its end before the model was here.
enum Trouble {
    /// The same may do in a while.
    Passing(String),
    Lasting(Error),
}

/// Where models come from, and where they go.
#[derive(Debug)]
pub struct Models {
    coordinators: Vec<Endpoint>,
    cache: Cache,
}

/// How far one is.
#[derive(Clone, Copy, Debug)]
pub struct Far<'a> {
    pub model: &'a HubModel,
    pub bytes: u64,
    pub of_bytes: u64,
}

impl Far<'_> {
    pub fn percent(&self) -> u64 {
        (self.bytes as f64 / self.of_bytes.max(1) as f64 * 100.0) as u64
    }
}

impl fmt::Display for Far<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, gigabytes) = (self.percent(), self.of_bytes as f64 / 1e9);
        write!(
            f,
            "downloading {}: {percent} % of {gigabytes:.1} GB",
            self.model
        )
    }
}

impl Models {
    pub fn new(coordinators: Vec<Endpoint>, cache: Cache) -> Self {
        Self {
            coordinators,
            cache,
        }
    }

    /// Gets what the job needs and is not here, however long that takes. What no coordinator has stays
    /// missing.
    pub async fn bring(
        &self,
        grant: &Grant,
        limit_bytes: u64,
        mut tell: impl FnMut(Far<'_>) + Send,
    ) -> Result<(), Error> {
        for wanted in wanted(grant) {
            if !self.cache.holds(&wanted.model) {
                self.bring_one(grant.lease_id, &wanted, limit_bytes, &mut tell)
                    .await?;
            }
        }
        Ok(())
    }

    async fn bring_one(
        &self,
        lease: LeaseId,
        wanted: &Wanted,
        limit_bytes: u64,
        tell: &mut (impl FnMut(Far<'_>) + Send),
    ) -> Result<(), Error> {
        let (mut pauses, mut best) = (Pauses::new(RETRY_MIN, RETRY_MAX), 0);
        loop {
            let mut bytes = 0;
            let mut tell = |far: Far<'_>| {
                bytes = far.bytes;
                tell(far);
            };
            let why = match self.attempt(lease, wanted, limit_bytes, &mut tell).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(why)) => why,
            };
            if bytes > best {
                pauses.restart();
                best = bytes;
            }
            let pause = pauses.next();
            tracing::warn!(model = %wanted.model, why, again_in = ?pause, "a download was cut");
            sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        lease: LeaseId,
        wanted: &Wanted,
        limit_bytes: u64,
        tell: &mut (impl FnMut(Far<'_>) + Send),
    ) -> Result<(), Trouble> {
        let model = &wanted.model;
        let Some((mut client, snapshot)) = self.find(lease, model).await? else {
            tracing::info!(%model, "neither this machine nor the coordinator has it");
            return Ok(());
        };
        wanted
            .check_fit(&snapshot, limit_bytes)
            .map_err(Trouble::Lasting)?;
        let disk = |error: hub::Error| of_disk(model, &error);
        let (cache, sought, wanted) = (self.cache.clone(), model.clone(), snapshot.clone());
        let room = blocking(move || cache.check_room(&sought, &wanted)).await;
        room.map_err(disk)?;
        let of_bytes = snapshot.bytes();
        let commit = snapshot.commit();
        tracing::info!(%model, %commit, of_bytes, "downloading from the coordinator");
        let mut whole = 0;
        for file in snapshot.files() {
            let fetch = Fetch {
                lease,
                model,
                file,
                cache: &self.cache,
            };
            let told = |bytes| {
                tell(Far {
                    model,
                    bytes: whole + bytes,
                    of_bytes,
                });
            };
            fetch.run(&mut client, told).await?;
            whole += file.bytes;
        }
        let (cache, whole, snapshot) = (self.cache.clone(), model.clone(), snapshot.clone());
        let kept = blocking(move || cache.keep(&whole, &snapshot)).await;
        kept.map_err(disk)?;
        tracing::info!(%model, %commit, "downloaded, and in Hugging Face's cache");
        Ok(())
    }

    /// The first coordinator that has it; None when none of those that answer does.
    async fn find(
        &self,
        lease: LeaseId,
        model: &HubModel,
    ) -> Result<Option<(Client, Snapshot)>, Trouble> {
        let mut unanswered = None;
        let mut answered = self.coordinators.is_empty();
        for coordinator in &self.coordinators {
            match ask(coordinator, lease, model).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => answered = true,
                Err(Trouble::Passing(why)) => unanswered = Some(why),
                Err(lasting) => return Err(lasting),
            }
        }
        match unanswered.filter(|_| !answered) {
            Some(why) => Err(Trouble::Passing(why)),
            None => Ok(None),
        }
    }
}

async fn ask(
    coordinator: &Endpoint,
    lease: LeaseId,
    model: &HubModel,
) -> Result<Option<(Client, Snapshot)>, Trouble> {
    let channel = coordinator.connect().await;
    let channel = channel.map_err(|error| Trouble::Passing(explain(&error)))?;
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = wire::FindModelRequest {
        lease_id: lease.to_string(),
        source: model.to_string(),
    };
    let found = match client.find_model(request).await {
        Ok(found) => found.into_inner().try_into(),
        // One of an earlier version has none to give either.
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => {
            return Ok(None);
        }
        Err(status) => return Err(refused(model, &status)),
    };
    let snapshot = found.map_err(|why: Refusal| {
        Trouble::Lasting(Error::Refused {
            model: model.clone(),
            why: why.to_string(),
        })
    })?;
    Ok(Some((client, snapshot)))
}

/// A link that broke or a coordinator that is busy passes, an answer does not.
fn refused(model: &HubModel, status: &Status) -> Trouble {
    let passing = status.source().is_some()
        || matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled
        );
    let why = explain(status);
    if passing {
        return Trouble::Passing(why);
    }
    let model = model.clone();
    Trouble::Lasting(Error::Refused { model, why })
}

/// One file on its way.
struct Fetch<'a> {
    lease: LeaseId,
    model: &'a HubModel,
    file: &'a HubFile,
    cache: &'a Cache,
}

impl Fetch<'_> {
    /// `tell` hears how many bytes of it are here.
    async fn run(
        &self,
        client: &mut Client,
        mut tell: impl FnMut(u64) + Send,
    ) -> Result<(), Trouble> {
        let Some(mut part) = self.part().await.map_err(|error| self.trouble(&error))? else {
            tell(self.file.bytes);
            return Ok(());
        };
        let in_one_piece = part.bytes() == 0;
        tell(part.bytes());
        if part.bytes() < self.file.bytes {
            let request = wire::FetchModelFileRequest {
                lease_id: self.lease.to_string(),
                source: self.model.to_string(),
                digest: self.file.digest.to_string(),
                offset: part.bytes(),
            };
            let lost = |status| refused(self.model, &status);
            let chunks = client.fetch_model_file(request).await;
            let mut chunks = chunks.map_err(lost)?.into_inner();
            while let Some(wire::ModelFileChunk { data }) = chunks.message().await.map_err(lost)? {
                let written = blocking(move || part.write(&data).map(|()| part)).await;
                part = written.map_err(|error| self.trouble(&error))?;
                tell(part.bytes());
            }
        }
        match blocking(move || part.finish()).await {
            // What was here may have been spoilt here: once more, from its beginning.
            Err(error @ hub::Error::Damaged { .. }) if !in_one_piece => {
                Err(Trouble::Passing(error.to_string()))
            }
            done => done.map_err(|error| self.trouble(&error)),
        }
    }

    /// Reads what is there of it, which may be much.
    async fn part(&self) -> Result<Option<Part>, hub::Error> {
        let (cache, model, file) = (self.cache.clone(), self.model.clone(), self.file.clone());
        blocking(move || cache.part(&model, &file)).await
    }

    fn trouble(&self, error: &hub::Error) -> Trouble {
        of_disk(self.model, error)
    }
}

fn of_disk(model: &HubModel, error: &hub::Error) -> Trouble {
    let model = model.clone();
    match error {
        hub::Error::Busy { .. } | hub::Error::Short { .. } => Trouble::Passing(error.to_string()),
        hub::Error::Damaged { .. } => {
            let damage = error.to_string();
            Trouble::Lasting(Error::Damaged { model, damage })
        }
        hub::Error::File { .. } | hub::Error::NoRoom { .. } => {
            let why = explain(error);
            Trouble::Lasting(Error::Disk { model, why })
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, hub::Error> + Send + 'static,
) -> Result<T, hub::Error> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// A model that a job loads, as it loads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    model: HubModel,
    dtype: Option<Dtype>,
}

/// Those of a job that come from the hub: its own and its drafts.
fn wanted(grant: &Grant) -> Vec<Wanted> {
    let drafts = grant.cases.iter();
    // Only what is synthetic has the type of the model beside it.
    let drafts = drafts.filter_map(|case| case.draft_beside(Dtype::Bf16));
    let mut all: Vec<Wanted> = Vec::new();
    for ModelRef { source, dtype } in grant.model.clone().into_iter().chain(drafts) {
        if let ModelSource::Hub(model) = source
            && all.iter().all(|known| known.model != model)
        {
            all.push(Wanted { model, dtype });
        }
    }
    all
}

impl Wanted {
    /// The worker will know exactly, by the files' headers; this keeps a machine from downloading for hours
    /// what it cannot hold in any case. Casting to 16 bits halves what is stored in 32, and no more.
    fn check_fit(&self, snapshot: &Snapshot, limit_bytes: u64) -> Result<(), Error> {
        let needs_bytes = match self.dtype {
            Some(Dtype::Bf16 | Dtype::F16) => snapshot.weight_bytes() / 2,
            Some(Dtype::F32) | None => snapshot.weight_bytes(),
        };
        if needs_bytes > limit_bytes {
            return Err(Error::TooLarge {
                needs_bytes,
                has_bytes: limit_bytes,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
