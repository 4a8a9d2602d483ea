//! Conversions of the pipe between agent and worker.

use domain::suite::Case;
use domain::worker::{Failed, FailureKind, Finished, Frame, Request, Started};

use crate::launch;
use crate::refusal::{Refusal, amount, count, line, name, need, text};
use crate::wire;
use crate::wire::worker_frame::Frame as WireFrame;

impl From<&Request> for wire::WorkerRequest {
    fn from(request: &Request) -> Self {
        let Request {
            model,
            case,
            protocol,
            cache_dir,
            memory_limit_bytes,
            launch_seed,
        } = request;
        Self {
            model: model.as_ref().map(Into::into),
            case: Some(case.into()),
            protocol: Some(protocol.into()),
            cache_dir: cache_dir.clone(),
            memory_limit_bytes: *memory_limit_bytes,
            launch_seed: *launch_seed,
        }
    }
}

impl TryFrom<wire::WorkerRequest> for Request {
    type Error = Refusal;

    fn try_from(message: wire::WorkerRequest) -> Result<Self, Refusal> {
        let wire::WorkerRequest {
            model,
            case,
            protocol,
            cache_dir,
            memory_limit_bytes,
            launch_seed,
        } = message;
        let case: Case = need(case, "request.case")?.try_into()?;
        Ok(Self {
            model: launch::model_for(case.suite(), model, "request.model")?,
            case,
            protocol: need(protocol, "request.protocol")?.into(),
            cache_dir,
            memory_limit_bytes,
            launch_seed,
        })
    }
}

impl From<Frame> for wire::WorkerFrame {
    fn from(frame: Frame) -> Self {
        let frame = match frame {
            Frame::Started(started) => WireFrame::Started(started.into()),
            Frame::Model(model) => WireFrame::Model(model.into()),
            Frame::Iteration(iteration) => WireFrame::Iteration(iteration.into()),
            Frame::Finished(Finished {
                steady,
                warmup_iterations,
            }) => WireFrame::Finished(wire::WorkerFinished {
                steady,
                warmup_iterations,
            }),
            Frame::Failed(Failed { kind, message }) => WireFrame::Failed(wire::WorkerFailed {
                kind: kind.as_str().to_owned(),
                message,
            }),
        };
        Self { frame: Some(frame) }
    }
}

impl TryFrom<wire::WorkerFrame> for Frame {
    type Error = Refusal;

    fn try_from(message: wire::WorkerFrame) -> Result<Self, Refusal> {
        Ok(match need(message.frame, "frame")? {
            WireFrame::Started(started) => Self::Started(started.try_into()?),
            WireFrame::Model(model) => Self::Model(model.try_into()?),
            WireFrame::Iteration(iteration) => Self::Iteration(iteration.try_into()?),
            WireFrame::Finished(wire::WorkerFinished {
                steady,
                warmup_iterations,
            }) => Self::Finished(Finished {
                steady,
                warmup_iterations: count(warmup_iterations, "finished.warmup_iterations")?,
            }),
            WireFrame::Failed(wire::WorkerFailed { kind, message }) => {
                let message = text(message, "failed.message")?;
                let kind = match kind.as_str() {
                    "model" => FailureKind::Model,
                    "case" => FailureKind::Case,
                    "skipped" => FailureKind::Skipped,
                    "internal" => FailureKind::Internal,
                    other => return Err(Refusal::bad("failed.kind", format_args!("`{other}`"))),
                };
                Self::Failed(Failed { kind, message })
            }
        })
    }
}

impl From<Started> for wire::WorkerStarted {
    fn from(started: Started) -> Self {
        let Started {
            pid,
            suite_version,
            suite_commit,
            mlx_version,
            mlx_sha256,
            mlx_device,
            mlx_architecture,
            blas,
            debug_build,
            nax_built,
            metallib_sha256,
            metallib_bytes,
            mlx_env,
            recommended_working_set_bytes,
        } = started;
        Self {
            pid,
            suite_version,
            suite_commit,
            mlx_version,
            mlx_sha256,
            mlx_device,
            mlx_architecture,
            blas,
            debug_build,
            nax_built,
            metallib_sha256,
            metallib_bytes,
            mlx_env: mlx_env.into_iter().collect(),
            recommended_working_set_bytes,
        }
    }
}

impl TryFrom<wire::WorkerStarted> for Started {
    type Error = Refusal;

    fn try_from(message: wire::WorkerStarted) -> Result<Self, Refusal> {
        let wire::WorkerStarted {
            pid,
            suite_version,
            suite_commit,
            mlx_version,
            mlx_sha256,
            mlx_device,
            mlx_architecture,
            blas,
            debug_build,
            nax_built,
            metallib_sha256,
            metallib_bytes,
            mlx_env,
            recommended_working_set_bytes,
        } = message;
        Ok(Self {
            pid,
            suite_version: name(suite_version, "started.suite_version")?,
            suite_commit: name(suite_commit, "started.suite_commit")?,
            mlx_version: name(mlx_version, "started.mlx_version")?,
            mlx_sha256: name(mlx_sha256, "started.mlx_sha256")?,
            mlx_device: name(mlx_device, "started.mlx_device")?,
            mlx_architecture: name(mlx_architecture, "started.mlx_architecture")?,
            blas: name(blas, "started.blas")?,
            debug_build,
            nax_built,
            metallib_sha256: name(metallib_sha256, "started.metallib_sha256")?,
            metallib_bytes: metallib_bytes
                .map(|bytes| amount(bytes, "started.metallib_bytes"))
                .transpose()?,
            mlx_env: mlx_env
                .into_iter()
                .map(|(key, value)| {
                    Ok((
                        name(key, "started.mlx_env")?,
                        line(value, "started.mlx_env")?,
                    ))
                })
                .collect::<Result<_, Refusal>>()?,
            recommended_working_set_bytes: amount(
                recommended_working_set_bytes,
                "started.recommended_working_set_bytes",
            )?,
        })
    }
}
