//! The operator's service. Who may call is settled before (`auth`).

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use proto::wire;
use proto::wire::fleet_service_server::FleetService;
use report_gen::RenderedFile;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, convert, draining};
use crate::dispatch::query::Of;
use crate::dispatch::runs::{Checked, Submitted};
use crate::dispatch::tokens::{Caller, Purpose};
use crate::dispatch::watch::Watch;
use crate::store::run::Wanted;

/// Rows that a reader has not taken yet; Postgres waits with the rest.
const MAX_UNREAD_ROWS: usize = 64;
/// Pieces of a backup that wait for its reader.
const MAX_UNREAD_CHUNKS: usize = 4;
/// Well below what either side takes as a message.
const CHUNK_BYTES: usize = 256 * 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub struct Operators {
    context: Context,
}

impl Operators {
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

#[async_trait]
impl FleetService for Operators {
    async fn check_plan(
        &self,
        request: Request<wire::CheckPlanRequest>,
    ) -> Result<Response<wire::CheckPlanResponse>, Status> {
        let wire::CheckPlanRequest { plan_toml } = request.into_inner();
        let Checked {
            problems,
            expansion,
            durations,
            notes,
        } = self.context.dispatch.check_plan(&plan_toml).await?;
        Ok(Response::new(wire::CheckPlanResponse {
            problems: problems.into_iter().map(convert::problem).collect(),
            jobs: expansion
                .jobs
                .into_iter()
                .zip(durations)
                .map(convert::planned_job)
                .collect(),
            left_out: expansion
                .left_out
                .into_iter()
                .map(convert::left_out)
                .collect(),
            notes,
        }))
    }

    async fn submit_run(
        &self,
        request: Request<wire::SubmitRunRequest>,
    ) -> Result<Response<wire::SubmitRunResponse>, Status> {
        let actor = actor(&request)?;
        let wire::SubmitRunRequest {
            plan_toml,
            file_name,
            once,
        } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let submitted = dispatch.submit(&plan_toml, &file_name, once, &actor);
        let response = match submitted.await? {
            Submitted::Run {
                run_id,
                jobs,
                skipped,
                notes,
            } => wire::SubmitRunResponse {
                run_id: run_id.to_string(),
                jobs,
                skipped,
                problems: Vec::new(),
                notes,
            },
            Submitted::Refused(problems) => wire::SubmitRunResponse {
                problems: problems.into_iter().map(convert::problem).collect(),
                ..wire::SubmitRunResponse::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn import_run(
        &self,
        request: Request<wire::ImportRunRequest>,
    ) -> Result<Response<wire::ImportRunResponse>, Status> {
        let actor = actor(&request)?;
        let wire::ImportRunRequest {
            text,
            file_name,
            format,
            given,
        } = request.into_inner();
        let format = convert::format(&format)?;
        let given = convert::given(given.unwrap_or_default())?;
        let imported = self
            .context
            .dispatch
            .import(&text, &file_name, format, &given, &actor)
            .await?;
        Ok(Response::new(convert::imported(imported)))
    }

    type WatchRunStream = Answers<wire::RunSnapshot>;

    async fn watch_run(
        &self,
        request: Request<wire::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let wire::WatchRunRequest { run } = request.into_inner();
        let watch = self.context.dispatch.watch(&run).await?;
        let stop = self.context.stop.clone();
        let next = move |state: Option<Watch>| {
            let stop = stop.clone();
            async move {
                let mut watch = state?;
                let seen = tokio::select! {
                    seen = watch.next() => seen.map_err(Status::from),
                    () = stop.soft() => Err(draining()),
                };
                match seen.transpose()? {
                    Ok(snapshot) => Some((Ok(convert::snapshot(snapshot)), Some(watch))),
                    Err(status) => Some((Err(status), None)),
                }
            }
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(watch), next))))
    }

    async fn cancel_run(
        &self,
        request: Request<wire::CancelRunRequest>,
    ) -> Result<Response<wire::CancelRunResponse>, Status> {
        let actor = actor(&request)?;
        let wire::CancelRunRequest { run } = request.into_inner();
        let (run_id, jobs_cancelled) = self.context.dispatch.cancel(&run, &actor).await?;
        Ok(Response::new(wire::CancelRunResponse {
            run_id: run_id.to_string(),
            jobs_cancelled,
        }))
    }

    async fn resume_run(
        &self,
        request: Request<wire::ResumeRunRequest>,
    ) -> Result<Response<wire::ResumeRunResponse>, Status> {
        let actor = actor(&request)?;
        let wire::ResumeRunRequest { run } = request.into_inner();
        let (run_id, jobs_resumed, notes) = self.context.dispatch.resume(&run, &actor).await?;
        Ok(Response::new(wire::ResumeRunResponse {
            run_id: run_id.to_string(),
            jobs_resumed,
            notes,
        }))
    }

    type DeleteRunsStream = Answers<wire::DeletedRun>;

    async fn delete_runs(
        &self,
        request: Request<wire::DeleteRunsRequest>,
    ) -> Result<Response<Self::DeleteRunsStream>, Status> {
        let actor = actor(&request)?;
        let wire::DeleteRunsRequest {
            run,
            older_than_seconds,
            dry_run,
        } = request.into_inner();
        let dispatch = self.context.dispatch.clone();
        let runs = if run.is_empty() {
            let older_than = Duration::from_secs(older_than_seconds);
            dispatch.ended_before(older_than).await?
        } else {
            vec![dispatch.find_run(&run).await?]
        };
        let deleted = stream::iter(runs).filter_map(move |run_id| {
            let (dispatch, actor) = (dispatch.clone(), actor.clone());
            async move {
                let deleted = dispatch.delete_run(run_id, dry_run, &actor).await;
                let deleted = deleted.map_err(Status::from).transpose()?;
                Some(deleted.map(convert::deleted_run))
            }
        });
        Ok(Response::new(Box::pin(deleted)))
    }

    type BackupStream = Answers<wire::BackupChunk>;

    async fn backup(
        &self,
        _: Request<wire::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let (chunks, answers) = mpsc::channel(MAX_UNREAD_CHUNKS);
        let Context {
            dispatch,
            stop,
            tasks,
        } = self.context.clone();
        tasks.spawn(async move {
            let take = |data: Vec<u8>| {
                let chunks = chunks.clone();
                async move { chunks.send(Ok(wire::BackupChunk { data })).await.is_ok() }
            };
            let ended = tokio::select! {
                ended = dispatch.backup(take) => ended.map_err(Status::from),
                () = stop.soft() => Err(draining()),
                () = chunks.closed() => return,
            };
            if let Err(status) = ended {
                // An error means that the reader is gone.
                drop(chunks.send(Err(status)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_schedules(
        &self,
        _: Request<wire::ListSchedulesRequest>,
    ) -> Result<Response<wire::ListSchedulesResponse>, Status> {
        let schedules = self.context.dispatch.list_schedules().await?;
        Ok(Response::new(wire::ListSchedulesResponse {
            schedules: schedules.into_iter().map(convert::schedule_row).collect(),
        }))
    }

    async fn remove_schedule(
        &self,
        request: Request<wire::RemoveScheduleRequest>,
    ) -> Result<Response<wire::RemoveScheduleResponse>, Status> {
        let actor = actor(&request)?;
        let wire::RemoveScheduleRequest { name } = request.into_inner();
        self.context.dispatch.remove_schedule(&name, &actor).await?;
        Ok(Response::new(wire::RemoveScheduleResponse {}))
    }

    async fn list_runs(
        &self,
        request: Request<wire::ListRunsRequest>,
    ) -> Result<Response<wire::ListRunsResponse>, Status> {
        let wire::ListRunsRequest { limit } = request.into_inner();
        let runs = self
            .context
            .dispatch
            .list_runs(&Wanted::default(), limit)
            .await?;
        Ok(Response::new(wire::ListRunsResponse {
            runs: runs.into_iter().map(convert::run_row).collect(),
        }))
    }

    type ListEventsStream = Answers<wire::EventRow>;

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        let wire::ListEventsRequest {
            run,
            machine,
            limit,
        } = request.into_inner();
        let events = self.context.dispatch.events(&run, &machine, limit).await?;
        let rows = events
            .into_iter()
            .map(|event| Ok(convert::event_row(event)));
        Ok(Response::new(Box::pin(stream::iter(rows))))
    }

    async fn list_machines(
        &self,
        request: Request<wire::ListMachinesRequest>,
    ) -> Result<Response<wire::ListMachinesResponse>, Status> {
        let wire::ListMachinesRequest { machine } = request.into_inner();
        let machines = self.context.dispatch.list_machines(&machine).await?;
        Ok(Response::new(wire::ListMachinesResponse {
            machines: machines.into_iter().map(convert::machine_row).collect(),
        }))
    }

    async fn drain_machine(
        &self,
        request: Request<wire::DrainMachineRequest>,
    ) -> Result<Response<wire::DrainMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::DrainMachineRequest { machine, reason } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let machine = dispatch.drain_machine(&machine, &reason, &actor).await?;
        Ok(Response::new(wire::DrainMachineResponse { machine }))
    }

    async fn upgrade_machine(
        &self,
        request: Request<wire::UpgradeMachineRequest>,
    ) -> Result<Response<wire::UpgradeMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::UpgradeMachineRequest { machine } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let machine = dispatch.upgrade_machine(&machine, &actor).await?;
        Ok(Response::new(wire::UpgradeMachineResponse { machine }))
    }

    async fn resume_machine(
        &self,
        request: Request<wire::ResumeMachineRequest>,
    ) -> Result<Response<wire::ResumeMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::ResumeMachineRequest { machine } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let (machine, was_drained) = dispatch.resume_machine(&machine, &actor).await?;
        Ok(Response::new(wire::ResumeMachineResponse {
            machine,
            was_drained,
        }))
    }

    async fn label_machine(
        &self,
        request: Request<wire::LabelMachineRequest>,
    ) -> Result<Response<wire::LabelMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::LabelMachineRequest {
            machine,
            set,
            remove,
        } = request.into_inner();
        let (machine, labels) = self
            .context
            .dispatch
            .label_machine(&machine, set.into_iter().collect(), &remove, &actor)
            .await?;
        Ok(Response::new(wire::LabelMachineResponse {
            machine,
            labels: labels.into_iter().collect(),
        }))
    }

    async fn approve_machine(
        &self,
        request: Request<wire::ApproveMachineRequest>,
    ) -> Result<Response<wire::ApproveMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::ApproveMachineRequest { machine } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let (machine, was_pending) = dispatch.approve_machine(&machine, &actor).await?;
        Ok(Response::new(wire::ApproveMachineResponse {
            machine,
            was_pending,
        }))
    }

    async fn revoke_machine(
        &self,
        request: Request<wire::RevokeMachineRequest>,
    ) -> Result<Response<wire::RevokeMachineResponse>, Status> {
        let actor = actor(&request)?;
        let wire::RevokeMachineRequest { machine } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let (machine, jobs_skipped) = dispatch.revoke_machine(&machine, &actor).await?;
        Ok(Response::new(wire::RevokeMachineResponse {
            machine,
            jobs_skipped,
        }))
    }

    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let actor = actor(&request)?;
        let wire::CreateTokenRequest {
            kind,
            ttl_seconds,
            uses,
            name,
        } = request.into_inner();
        let purpose = Purpose::parse(&kind)?;
        let ttl = Duration::from_secs(ttl_seconds);
        let token = self
            .context
            .dispatch
            .create_token(purpose, ttl, uses, &name, &actor)
            .await?;
        Ok(Response::new(wire::CreateTokenResponse {
            token: token.expose().to_string(),
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensResponse>, Status> {
        let tokens = self.context.dispatch.list_tokens().await?;
        Ok(Response::new(wire::ListTokensResponse {
            tokens: tokens.into_iter().map(convert::token_row).collect(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        let actor = actor(&request)?;
        let wire::RevokeTokenRequest { token_id } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let was_live = dispatch.revoke_token(&token_id, &actor).await?;
        Ok(Response::new(wire::RevokeTokenResponse { was_live }))
    }

    type QueryStream = Answers<wire::QueryRow>;

    async fn query(
        &self,
        request: Request<wire::QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let wire::QueryRequest { sql } = request.into_inner();
        let (rows, answers) = mpsc::channel(MAX_UNREAD_ROWS);
        let Context {
            dispatch,
            stop,
            tasks,
        } = self.context.clone();
        tasks.spawn(async move {
            let take = |row: Vec<Option<String>>| {
                let rows = rows.clone();
                let values = row
                    .into_iter()
                    .map(|text| wire::QueryValue { text })
                    .collect();
                async move { rows.send(Ok(wire::QueryRow { values })).await.is_ok() }
            };
            let ended = tokio::select! {
                ended = dispatch.query(Of::Reader, &sql, take) => ended.map_err(Status::from),
                () = stop.soft() => Err(draining()),
                () = rows.closed() => return,
            };
            if let Err(status) = ended {
                // An error means that the reader is gone.
                drop(rows.send(Err(status)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    type RenderReportStream = Answers<wire::ReportChunk>;

    async fn render_report(
        &self,
        request: Request<wire::RenderReportRequest>,
    ) -> Result<Response<Self::RenderReportStream>, Status> {
        let wire::RenderReportRequest { run, formats } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let files = dispatch.render_report(&run, &formats).await?;
        Ok(Response::new(chunks(files)))
    }

    type CompareRunsStream = Answers<wire::ReportChunk>;

    async fn compare_runs(
        &self,
        request: Request<wire::CompareRunsRequest>,
    ) -> Result<Response<Self::CompareRunsStream>, Status> {
        let wire::CompareRunsRequest {
            run,
            baseline,
            across,
            format,
        } = request.into_inner();
        let dispatch = &self.context.dispatch;
        let file = dispatch
            .compare_runs(&run, &baseline, &across, &format)
            .await?;
        Ok(Response::new(chunks(vec![file])))
    }
}

/// Who asks, as events keep it.
fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.ok_or_else(|| Status::internal("a request came past the guard"))?;
    Ok(caller.actor.clone())
}

/// Files in pieces that a message holds.
fn chunks(files: Vec<RenderedFile>) -> Answers<wire::ReportChunk> {
    let chunks: Vec<_> = files
        .into_iter()
        .flat_map(|file| {
            let chunks: Vec<_> = file
                .bytes
                .chunks(CHUNK_BYTES)
                .map(|data| {
                    Ok(wire::ReportChunk {
                        file_name: file.name.clone(),
                        data: data.to_vec(),
                    })
                })
                .collect();
            chunks
        })
        .collect();
    Box::pin(stream::iter(chunks))
}
