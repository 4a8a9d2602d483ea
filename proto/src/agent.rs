//! Conversions of the agent's protocol: inventories, grants, batches of records.

use std::time::Duration;

use domain::lease::{Epoch, FinishedLaunch, Grant};
use domain::machine::{CpuTier, Inventory};
use domain::record::{
    Batch, Environment, JobFinished, LaunchFinished, LaunchModel, LaunchStarted, MAX_BATCH_RECORDS,
    Record,
};
use domain::suite::Suite;

use crate::launch;
use crate::refusal::{
    Refusal, amount, count, few, finite, instant, line, millis, name, need, parse, parse_all, text,
    unix_us,
};
use crate::wire;
use crate::wire::record::Record as WireRecord;

impl From<&Inventory> for wire::Inventory {
    fn from(inventory: &Inventory) -> Self {
        let Inventory {
            identity,
            hostname,
            os,
            os_version,
            os_build,
            arch,
            hardware_model,
            chip,
            gpu_cores,
            gpu_max_mhz,
            cpu_cores,
            cpu_tiers,
            memory_bytes,
            wired_limit_bytes,
            boot_id,
            virtual_machine,
            simulated,
            agent_version,
            labels,
        } = inventory.clone();
        Self {
            identity,
            hostname,
            os,
            os_version,
            os_build,
            arch,
            hardware_model,
            chip,
            gpu_cores,
            gpu_max_mhz,
            cpu_cores,
            cpu_tiers: cpu_tiers
                .into_iter()
                .map(|CpuTier { label, cores }| wire::CpuTier { label, cores })
                .collect(),
            memory_bytes,
            wired_limit_bytes,
            boot_id,
            virtual_machine,
            simulated,
            agent_version,
            labels: labels.into_iter().collect(),
        }
    }
}

/// More than anybody tells apart machines by.
const MAX_LABELS: usize = 64;
/// Chips have two kinds of cores, or three.
const MAX_TIERS: usize = 16;

impl TryFrom<wire::Inventory> for Inventory {
    type Error = Refusal;

    fn try_from(message: wire::Inventory) -> Result<Self, Refusal> {
        let wire::Inventory {
            identity,
            hostname,
            os,
            os_version,
            os_build,
            arch,
            hardware_model,
            chip,
            gpu_cores,
            gpu_max_mhz,
            cpu_cores,
            cpu_tiers,
            memory_bytes,
            wired_limit_bytes,
            boot_id,
            virtual_machine,
            simulated,
            agent_version,
            labels,
        } = message;
        if identity.is_empty() {
            return Err(Refusal::Missing {
                field: "inventory.identity",
            });
        }
        if memory_bytes == 0 {
            return Err(Refusal::bad("inventory.memory_bytes", memory_bytes));
        }
        if labels.len() > MAX_LABELS {
            return Err(Refusal::bad(
                "inventory.labels",
                format_args!("{} labels; at most {MAX_LABELS}", labels.len()),
            ));
        }
        Ok(Self {
            identity: name(identity, "inventory.identity")?,
            hostname: name(hostname, "inventory.hostname")?,
            os: name(os, "inventory.os")?,
            os_version: name(os_version, "inventory.os_version")?,
            os_build: name(os_build, "inventory.os_build")?,
            arch: name(arch, "inventory.arch")?,
            hardware_model: name(hardware_model, "inventory.hardware_model")?,
            chip: name(chip, "inventory.chip")?,
            gpu_cores: gpu_cores
                .map(|cores| count(cores, "inventory.gpu_cores"))
                .transpose()?,
            gpu_max_mhz: gpu_max_mhz
                .map(|mhz| count(mhz, "inventory.gpu_max_mhz"))
                .transpose()?,
            cpu_cores: count(cpu_cores, "inventory.cpu_cores")?,
            cpu_tiers: few(cpu_tiers, MAX_TIERS, "inventory.cpu_tiers")?
                .into_iter()
                .map(|wire::CpuTier { label, cores }| {
                    Ok(CpuTier {
                        label: name(label, "inventory.cpu_tiers")?,
                        cores: count(cores, "inventory.cpu_tiers")?,
                    })
                })
                .collect::<Result<_, Refusal>>()?,
            memory_bytes: amount(memory_bytes, "inventory.memory_bytes")?,
            wired_limit_bytes: wired_limit_bytes
                .map(|bytes| amount(bytes, "inventory.wired_limit_bytes"))
                .transpose()?,
            boot_id: name(boot_id, "inventory.boot_id")?,
            virtual_machine,
            simulated,
            agent_version: name(agent_version, "inventory.agent_version")?,
            labels: labels
                .into_iter()
                .map(|(key, value)| {
                    Ok((
                        name(key, "inventory.labels")?,
                        name(value, "inventory.labels")?,
                    ))
                })
                .collect::<Result<_, Refusal>>()?,
        })
    }
}

impl From<&Grant> for wire::Grant {
    fn from(grant: &Grant) -> Self {
        let Grant {
            lease_id,
            job_id,
            run_id,
            epoch,
            ttl,
            model,
            cases,
            protocol,
            finished,
            failures,
        } = grant;
        Self {
            lease_id: lease_id.to_string(),
            job_id: job_id.to_string(),
            run_id: run_id.to_string(),
            epoch: epoch.0,
            ttl_ms: millis(*ttl),
            suite: cases
                .first()
                .map(|case| case.suite().to_string())
                .unwrap_or_default(),
            model: model.as_ref().map(Into::into),
            cases: cases.iter().map(Into::into).collect(),
            protocol: Some(protocol.into()),
            finished: finished
                .iter()
                .map(
                    |FinishedLaunch {
                         case_key,
                         ordinal,
                         headline,
                     }| wire::FinishedLaunch {
                        case_key: case_key.clone(),
                        ordinal: *ordinal,
                        headline: *headline,
                    },
                )
                .collect(),
            failures: *failures,
        }
    }
}

impl TryFrom<wire::Grant> for Grant {
    type Error = Refusal;

    fn try_from(message: wire::Grant) -> Result<Self, Refusal> {
        let wire::Grant {
            lease_id,
            job_id,
            run_id,
            epoch,
            ttl_ms,
            suite,
            model,
            cases,
            protocol,
            finished,
            failures,
        } = message;
        let suite: Suite = parse(&suite, "grant.suite")?;
        let cases: Vec<domain::suite::Case> = cases
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()?;
        if cases.is_empty() || cases.iter().any(|case| case.suite() != suite) {
            return Err(Refusal::bad("grant.cases", "empty, or of another suite"));
        }
        Ok(Self {
            lease_id: parse(&lease_id, "grant.lease_id")?,
            job_id: parse(&job_id, "grant.job_id")?,
            run_id: parse(&run_id, "grant.run_id")?,
            epoch: Epoch(epoch),
            ttl: Duration::from_millis(ttl_ms),
            model: launch::model_for(suite, model, "grant.model")?,
            cases,
            protocol: need(protocol, "grant.protocol")?.into(),
            finished: finished
                .into_iter()
                .map(
                    |wire::FinishedLaunch {
                         case_key,
                         ordinal,
                         headline,
                     }| {
                        Ok(FinishedLaunch {
                            case_key,
                            ordinal,
                            headline: headline
                                .map(|value| finite(value, "grant.finished.headline"))
                                .transpose()?,
                        })
                    },
                )
                .collect::<Result<_, Refusal>>()?,
            failures,
        })
    }
}

impl From<Batch> for wire::Batch {
    fn from(batch: Batch) -> Self {
        let Batch {
            lease_id,
            seq,
            records,
        } = batch;
        Self {
            lease_id: lease_id.to_string(),
            seq,
            records: records.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Batch> for Batch {
    type Error = Refusal;

    fn try_from(message: wire::Batch) -> Result<Self, Refusal> {
        let wire::Batch {
            lease_id,
            seq,
            records,
        } = message;
        Ok(Self {
            lease_id: parse(&lease_id, "batch.lease_id")?,
            seq: amount(seq, "batch.seq")?,
            records: few(records, MAX_BATCH_RECORDS, "batch.records")?
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Record> for wire::Record {
    fn from(record: Record) -> Self {
        let record = match record {
            Record::LaunchStarted(started) => WireRecord::LaunchStarted(started.into()),
            Record::LaunchModel(LaunchModel {
                launch_id,
                model,
                environment,
            }) => WireRecord::Model(wire::LaunchModel {
                launch_id: launch_id.to_string(),
                model: model.map(Into::into),
                environment: Some(environment.into()),
            }),
            Record::Iteration {
                launch_id,
                iteration,
            } => WireRecord::Iteration(wire::LaunchIteration {
                launch_id: launch_id.to_string(),
                iteration: Some(iteration.into()),
            }),
            Record::LaunchHeat(heat) => WireRecord::Heat(heat.into()),
            Record::LaunchFinished(finished) => WireRecord::LaunchFinished(finished.into()),
            Record::Reading(reading) => WireRecord::Reading(reading.into()),
            Record::JobFinished(JobFinished { outcome, reason }) => {
                WireRecord::JobFinished(wire::JobFinished {
                    outcome: outcome.to_string(),
                    reason,
                })
            }
        };
        Self {
            record: Some(record),
        }
    }
}

impl TryFrom<wire::Record> for Record {
    type Error = Refusal;

    fn try_from(message: wire::Record) -> Result<Self, Refusal> {
        Ok(match need(message.record, "record")? {
            WireRecord::LaunchStarted(started) => Self::LaunchStarted(started.try_into()?),
            WireRecord::Model(wire::LaunchModel {
                launch_id,
                model,
                environment,
            }) => Self::LaunchModel(LaunchModel {
                launch_id: parse(&launch_id, "launch_model.launch_id")?,
                model: model.map(TryInto::try_into).transpose()?,
                environment: need(environment, "launch_model.environment")?.try_into()?,
            }),
            WireRecord::Iteration(wire::LaunchIteration {
                launch_id,
                iteration,
            }) => Self::Iteration {
                launch_id: parse(&launch_id, "iteration.launch_id")?,
                iteration: need(iteration, "iteration.iteration")?.try_into()?,
            },
            WireRecord::Heat(heat) => Self::LaunchHeat(heat.try_into()?),
            WireRecord::LaunchFinished(finished) => Self::LaunchFinished(finished.try_into()?),
            WireRecord::Reading(reading) => Self::Reading(reading.try_into()?),
            WireRecord::JobFinished(wire::JobFinished { outcome, reason }) => {
                Self::JobFinished(JobFinished {
                    outcome: parse(&outcome, "job_finished.outcome")?,
                    reason: text(reason, "job_finished.reason")?,
                })
            }
        })
    }
}

impl From<LaunchStarted> for wire::LaunchStarted {
    fn from(started: LaunchStarted) -> Self {
        let LaunchStarted {
            launch_id,
            case_key,
            ordinal,
            position,
            started_at,
            seed,
        } = started;
        Self {
            launch_id: launch_id.to_string(),
            case_key,
            ordinal,
            position,
            started_unix_us: unix_us(started_at),
            seed,
        }
    }
}

impl TryFrom<wire::LaunchStarted> for LaunchStarted {
    type Error = Refusal;

    fn try_from(message: wire::LaunchStarted) -> Result<Self, Refusal> {
        let wire::LaunchStarted {
            launch_id,
            case_key,
            ordinal,
            position,
            started_unix_us,
            seed,
        } = message;
        Ok(Self {
            launch_id: parse(&launch_id, "launch_started.launch_id")?,
            case_key: line(case_key, "launch_started.case_key")?,
            ordinal: count(ordinal, "launch_started.ordinal")?,
            position: count(position, "launch_started.position")?,
            started_at: instant(started_unix_us, "launch_started.started_unix_us")?,
            seed,
        })
    }
}

impl From<Environment> for wire::Environment {
    fn from(environment: Environment) -> Self {
        let Environment {
            worker,
            os,
            os_version,
            os_build,
            kernel,
            boot_id,
            agent_version,
            agent_commit,
            wired_limit_bytes,
            power_source,
            low_power_mode,
        } = environment;
        Self {
            worker: Some(worker.into()),
            os,
            os_version,
            os_build,
            kernel,
            boot_id,
            agent_version,
            agent_commit,
            wired_limit_bytes,
            power_source,
            low_power_mode,
        }
    }
}

impl TryFrom<wire::Environment> for Environment {
    type Error = Refusal;

    fn try_from(message: wire::Environment) -> Result<Self, Refusal> {
        let wire::Environment {
            worker,
            os,
            os_version,
            os_build,
            kernel,
            boot_id,
            agent_version,
            agent_commit,
            wired_limit_bytes,
            power_source,
            low_power_mode,
        } = message;
        Ok(Self {
            worker: need(worker, "environment.worker")?.try_into()?,
            os: name(os, "environment.os")?,
            os_version: name(os_version, "environment.os_version")?,
            os_build: name(os_build, "environment.os_build")?,
            kernel: name(kernel, "environment.kernel")?,
            boot_id: name(boot_id, "environment.boot_id")?,
            agent_version: name(agent_version, "environment.agent_version")?,
            agent_commit: name(agent_commit, "environment.agent_commit")?,
            wired_limit_bytes: wired_limit_bytes
                .map(|bytes| amount(bytes, "environment.wired_limit_bytes"))
                .transpose()?,
            power_source: power_source
                .map(|source| name(source, "environment.power_source"))
                .transpose()?,
            low_power_mode,
        })
    }
}

impl From<LaunchFinished> for wire::LaunchFinished {
    fn from(finished: LaunchFinished) -> Self {
        let LaunchFinished {
            launch_id,
            outcome,
            message,
            finished_at,
            steady,
            warmup_iterations,
            reasons,
            stderr_tail,
            exit_code,
            signal,
        } = finished;
        Self {
            launch_id: launch_id.to_string(),
            outcome: outcome.to_string(),
            message,
            finished_unix_us: unix_us(finished_at),
            steady,
            warmup_iterations,
            reasons: reasons.iter().map(ToString::to_string).collect(),
            stderr_tail,
            exit_code,
            signal,
        }
    }
}

impl TryFrom<wire::LaunchFinished> for LaunchFinished {
    type Error = Refusal;

    fn try_from(message: wire::LaunchFinished) -> Result<Self, Refusal> {
        let wire::LaunchFinished {
            launch_id,
            outcome,
            message,
            finished_unix_us,
            steady,
            warmup_iterations,
            reasons,
            stderr_tail,
            exit_code,
            signal,
        } = message;
        Ok(Self {
            launch_id: parse(&launch_id, "launch_finished.launch_id")?,
            outcome: parse(&outcome, "launch_finished.outcome")?,
            message: text(message, "launch_finished.message")?,
            finished_at: instant(finished_unix_us, "launch_finished.finished_unix_us")?,
            steady,
            warmup_iterations: count(warmup_iterations, "launch_finished.warmup_iterations")?,
            reasons: parse_all(&reasons, "launch_finished.reasons")?,
            stderr_tail: text(stderr_tail, "launch_finished.stderr_tail")?,
            exit_code,
            signal,
        })
    }
}
