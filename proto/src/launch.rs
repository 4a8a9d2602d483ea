//! Conversions of what all three protocols carry: protocols, cases, models, iterations, readings.

use std::time::Duration;

use domain::model::{ModelIdentity, ModelRef};
use domain::plan::Protocol;
use domain::record::Reading;
use domain::suite::{Case, Subject, Suite};
use domain::worker::{Iteration, Phase, Sample};

use crate::refusal::{
    Refusal, amount, count, few, finite, instant, line, millis, name, need, parse, parse_all,
    unix_us,
};
use crate::wire;

impl From<&Protocol> for wire::Protocol {
    fn from(protocol: &Protocol) -> Self {
        let Protocol {
            launches,
            precision,
            iterations,
            min_region,
            warmup_max_iterations,
            warmup_max,
            launch_timeout,
            gate_timeout,
            canary,
            cooldown_max,
            cooldown_pause,
            seed,
        } = *protocol;
        Self {
            launches,
            precision,
            iterations,
            min_region_ms: millis(min_region),
            warmup_max_iterations,
            warmup_max_ms: millis(warmup_max),
            launch_timeout_ms: millis(launch_timeout),
            gate_timeout_ms: millis(gate_timeout),
            canary,
            cooldown_max_ms: millis(cooldown_max),
            cooldown_pause_ms: millis(cooldown_pause),
            seed,
        }
    }
}

impl From<wire::Protocol> for Protocol {
    fn from(protocol: wire::Protocol) -> Self {
        let wire::Protocol {
            launches,
            precision,
            iterations,
            min_region_ms,
            warmup_max_iterations,
            warmup_max_ms,
            launch_timeout_ms,
            gate_timeout_ms,
            canary,
            cooldown_max_ms,
            cooldown_pause_ms,
            seed,
        } = protocol;
        Self {
            launches,
            precision,
            iterations,
            min_region: Duration::from_millis(min_region_ms),
            warmup_max_iterations,
            warmup_max: Duration::from_millis(warmup_max_ms),
            launch_timeout: Duration::from_millis(launch_timeout_ms),
            gate_timeout: Duration::from_millis(gate_timeout_ms),
            canary,
            cooldown_max: Duration::from_millis(cooldown_max_ms),
            cooldown_pause: Duration::from_millis(cooldown_pause_ms),
            seed,
        }
    }
}

impl From<&Case> for wire::Case {
    fn from(case: &Case) -> Self {
        Self {
            suite: case.suite().as_str().to_owned(),
            case_key: case.key(),
            params_json: serde_json::to_string(case).expect("a case is plain data"),
        }
    }
}

impl TryFrom<wire::Case> for Case {
    type Error = Refusal;

    fn try_from(message: wire::Case) -> Result<Self, Refusal> {
        let wire::Case {
            suite,
            case_key,
            params_json,
        } = message;
        let case: Self = serde_json::from_str(&params_json)
            .map_err(|why| Refusal::bad("case.params_json", why))?;
        if case.suite().as_str() != suite || case.key() != case_key {
            return Err(Refusal::bad(
                "case.case_key",
                format_args!("{suite} {case_key} does not stand for {params_json}"),
            ));
        }
        Ok(case)
    }
}

impl From<&ModelRef> for wire::ModelRef {
    fn from(model: &ModelRef) -> Self {
        let ModelRef { source, dtype } = model;
        Self {
            source: source.to_string(),
            dtype: dtype.map(|dtype| dtype.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::ModelRef> for ModelRef {
    type Error = Refusal;

    fn try_from(message: wire::ModelRef) -> Result<Self, Refusal> {
        let wire::ModelRef { source, dtype } = message;
        Ok(Self {
            source: parse(&source, "model.source")?,
            dtype: match dtype.as_str() {
                "" => None,
                text => Some(parse(text, "model.dtype")?),
            },
        })
    }
}

/// The model of a job: there if and only if its suite is about one.
pub(crate) fn model_for(
    suite: Suite,
    model: Option<wire::ModelRef>,
    field: &'static str,
) -> Result<Option<ModelRef>, Refusal> {
    match suite.subject() {
        Subject::Model => Ok(Some(need(model, field)?.try_into()?)),
        Subject::Machine if model.is_some() => {
            Err(Refusal::bad(field, format_args!("{suite} needs no model")))
        }
        Subject::Machine => Ok(None),
    }
}

impl From<ModelIdentity> for wire::ModelIdentity {
    fn from(model: ModelIdentity) -> Self {
        let ModelIdentity {
            digest,
            model_type,
            label,
            source,
            dtype,
            quantisation,
            parameters,
            weight_bytes,
            decode_bytes,
            kv_bytes_per_token,
            synthetic,
            config_json,
        } = model;
        Self {
            digest,
            model_type,
            label,
            source,
            dtype: dtype.to_string(),
            quantisation,
            parameters,
            weight_bytes,
            decode_bytes,
            kv_bytes_per_token,
            synthetic,
            config_json,
        }
    }
}

impl TryFrom<wire::ModelIdentity> for ModelIdentity {
    type Error = Refusal;

    fn try_from(message: wire::ModelIdentity) -> Result<Self, Refusal> {
        let wire::ModelIdentity {
            digest,
            model_type,
            label,
            source,
            dtype,
            quantisation,
            parameters,
            weight_bytes,
            decode_bytes,
            kv_bytes_per_token,
            synthetic,
            config_json,
        } = message;
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refusal::bad("model.digest", "not a SHA-256 in hex"));
        }
        serde_json::from_str::<serde_json::Value>(&config_json)
            .map_err(|why| Refusal::bad("model.config_json", why))?;
        Ok(Self {
            digest,
            model_type: name(model_type, "model.model_type")?,
            label: line(label, "model.label")?,
            source: line(source, "model.source")?,
            dtype: parse(&dtype, "model.dtype")?,
            quantisation: name(quantisation, "model.quantisation")?,
            parameters: amount(parameters, "model.parameters")?,
            weight_bytes: amount(weight_bytes, "model.weight_bytes")?,
            decode_bytes: amount(decode_bytes, "model.decode_bytes")?,
            kv_bytes_per_token: amount(kv_bytes_per_token, "model.kv_bytes_per_token")?,
            synthetic,
            config_json,
        })
    }
}

impl From<Iteration> for wire::Iteration {
    fn from(iteration: Iteration) -> Self {
        let Iteration {
            ordinal,
            phase,
            mode,
            started,
            duration,
            work,
            token_times,
            samples,
            reasons,
            token_ids_sha256,
        } = iteration;
        Self {
            ordinal,
            phase: phase.as_str().to_owned(),
            mode,
            started_us: started.as_micros() as u64,
            duration_ns: duration.as_nanos() as u64,
            work,
            token_ns: token_times.iter().map(|at| at.as_nanos() as u64).collect(),
            samples: samples
                .iter()
                .map(|sample| wire::Sample {
                    metric: sample.metric.name().to_owned(),
                    value: sample.value,
                })
                .collect(),
            reasons: reasons
                .iter()
                .map(|reason| reason.code().to_owned())
                .collect(),
            token_ids_sha256,
        }
    }
}

/// A metric has one value in an iteration, and there are not so many metrics.
const MAX_SAMPLES: usize = 256;

impl TryFrom<wire::Iteration> for Iteration {
    type Error = Refusal;

    fn try_from(message: wire::Iteration) -> Result<Self, Refusal> {
        let wire::Iteration {
            ordinal,
            phase,
            mode,
            started_us,
            duration_ns,
            work,
            token_ns,
            samples,
            reasons,
            token_ids_sha256,
        } = message;
        Ok(Self {
            ordinal: count(ordinal, "iteration.ordinal")?,
            phase: match phase.as_str() {
                "warmup" => Phase::Warmup,
                "measured" => Phase::Measured,
                other => return Err(Refusal::bad("iteration.phase", format_args!("`{other}`"))),
            },
            mode: name(mode, "iteration.mode")?,
            started: Duration::from_micros(amount(started_us, "iteration.started_us")?),
            duration: Duration::from_nanos(amount(duration_ns, "iteration.duration_ns")?),
            work: amount(work, "iteration.work")?,
            token_times: token_ns
                .into_iter()
                .map(|at| Ok(Duration::from_nanos(amount(at, "iteration.token_ns")?)))
                .collect::<Result<_, Refusal>>()?,
            samples: few(samples, MAX_SAMPLES, "iteration.samples")?
                .into_iter()
                .map(Sample::try_from)
                .collect::<Result<_, _>>()?,
            reasons: parse_all(&reasons, "iteration.reasons")?,
            token_ids_sha256: name(token_ids_sha256, "iteration.token_ids_sha256")?,
        })
    }
}

impl TryFrom<wire::Sample> for Sample {
    type Error = Refusal;

    fn try_from(message: wire::Sample) -> Result<Self, Refusal> {
        let wire::Sample { metric, value } = message;
        Ok(Self {
            metric: parse(&metric, "sample.metric")?,
            value: finite(value, "sample.value")?,
        })
    }
}

impl From<Reading> for wire::Reading {
    fn from(reading: Reading) -> Self {
        let Reading { at, sensor, value } = reading;
        Self {
            at_unix_us: unix_us(at),
            sensor,
            value,
        }
    }
}

impl TryFrom<wire::Reading> for Reading {
    type Error = Refusal;

    fn try_from(message: wire::Reading) -> Result<Self, Refusal> {
        let wire::Reading {
            at_unix_us,
            sensor,
            value,
        } = message;
        Ok(Self {
            at: instant(at_unix_us, "reading.at_unix_us")?,
            sensor: name(sensor, "reading.sensor")?,
            value: finite(value, "reading.value")?,
        })
    }
}
