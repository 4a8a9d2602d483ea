//! The models that machines get from this coordinator: what lies in its folder, for a job that was granted,
//! by hash. Nothing of the folder is opened by a name that came over the wire.

use std::io::SeekFrom;
use std::sync::Arc;

use domain::hub::{Digest, HubModel};
use domain::ids::{LeaseId, MachineId};
use futures_util::{Stream, StreamExt};
use proto::wire;
use service::hub::Cache;
use tokio::fs::File;
use tokio::io::AsyncSeekExt;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::{Request, Status};

use super::{Context, draining, sending};

/// Files that are sent at one time: more would only share the same network.
const MAX_SENDING: usize = 16;

pub struct Models {
    context: Context,
    cache: Cache,
    sending: Arc<Semaphore>,
}

impl Models {
    pub fn new(context: Context, cache: Cache) -> Self {
        Self {
            context,
            cache,
            sending: Arc::new(Semaphore::new(MAX_SENDING)),
        }
    }

    pub async fn find(
        &self,
        machine: MachineId,
        request: wire::FindModelRequest,
    ) -> Result<wire::FindModelResponse, Status> {
        let wire::FindModelRequest { lease_id, source } = request;
        let (lease, model) = (lease(&lease_id)?, model(&source)?);
        let dispatch = &self.context.dispatch;
        let lease = dispatch.live_lease(machine, lease).await?;
        let (cache, sought) = (self.cache.clone(), model.clone());
        let found = spawn_blocking(move || cache.find(&sought)).await;
        let found = found.map_err(|error| Status::internal(error.to_string()))?;
        let Some(snapshot) = found else {
            return Err(Status::not_found(format!(
                "the coordinator has no {model} to give: `mlx-fleet model fetch {model}` there"
            )));
        };
        dispatch.model_sent(lease, &model, snapshot.bytes()).await?;
        Ok(snapshot.into())
    }

    pub async fn fetch(
        &self,
        machine: MachineId,
        request: Request<wire::FetchModelFileRequest>,
    ) -> Result<impl Stream<Item = Result<wire::ModelFileChunk, Status>> + Send + use<>, Status>
    {
        let (_, extensions, request) = request.into_parts();
        let wire::FetchModelFileRequest {
            lease_id,
            source,
            digest,
            offset,
        } = request;
        let (lease, model) = (lease(&lease_id)?, model(&source)?);
        let digest = digest
            .parse::<Digest>()
            .map_err(|why| Status::invalid_argument(format!("digest: {why}")))?;
        self.context.dispatch.live_lease(machine, lease).await?;
        let Ok(place) = Arc::clone(&self.sending).try_acquire_owned() else {
            return Err(Status::unavailable(format!(
                "{MAX_SENDING} files are being sent to machines: try again"
            )));
        };
        let mut file = match self.cache.open(&model, &digest) {
            Ok(file) => File::from_std(file),
            Err(why) => {
                return Err(Status::not_found(format!(
                    "the coordinator has no {digest} of {model}: {why}"
                )));
            }
        };
        let sought = file.seek(SeekFrom::Start(offset)).await;
        sought.map_err(|why| Status::invalid_argument(format!("offset: {why}")))?;
        let Context { stop, tasks, .. } = &self.context;
        let (chunks, stop) = (
            sending::send(file, &extensions, stop, tasks, place),
            stop.clone(),
        );
        Ok(chunks.map(move |chunk| match chunk {
            Ok(data) => Ok(wire::ModelFileChunk { data: data.into() }),
            Err(_) if stop.is_soft() => Err(draining()),
            Err(error) => {
                tracing::error!(%error, %model, %digest, "a model cannot be read");
                Err(Status::data_loss(format!(
                    "the coordinator cannot read {digest}: {error}"
                )))
            }
        }))
    }
}

fn lease(text: &str) -> Result<LeaseId, Status> {
    text.parse::<LeaseId>()
        .map_err(|why| Status::invalid_argument(format!("lease_id: {why}")))
}

fn model(text: &str) -> Result<HubModel, Status> {
    text.parse::<HubModel>()
        .map_err(|why| Status::invalid_argument(format!("source: {why}")))
}
