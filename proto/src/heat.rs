//! How warm a machine was beside a launch.

use std::time::Duration;

use domain::record::{Canary, LaunchHeat, SensorsCost};

use crate::refusal::{Refusal, amount, finite, millis, parse};
use crate::wire;

impl From<LaunchHeat> for wire::LaunchHeat {
    fn from(heat: LaunchHeat) -> Self {
        let LaunchHeat {
            launch_id,
            cooldown,
            canary_before,
            canary_after,
            trend_pct,
            telemetry_gap,
            sensors_cost,
        } = heat;
        Self {
            launch_id: launch_id.to_string(),
            cooldown_ms: millis(cooldown),
            canary_before: canary_before.map(Into::into),
            canary_after: canary_after.map(Into::into),
            trend_pct,
            telemetry_gap_ms: millis(telemetry_gap),
            sensors_cost: sensors_cost.map(Into::into),
        }
    }
}

impl TryFrom<wire::LaunchHeat> for LaunchHeat {
    type Error = Refusal;

    fn try_from(message: wire::LaunchHeat) -> Result<Self, Refusal> {
        let wire::LaunchHeat {
            launch_id,
            cooldown_ms,
            canary_before,
            canary_after,
            trend_pct,
            telemetry_gap_ms,
            sensors_cost,
        } = message;
        Ok(Self {
            launch_id: parse(&launch_id, "launch_heat.launch_id")?,
            cooldown: Duration::from_millis(amount(cooldown_ms, "launch_heat.cooldown_ms")?),
            canary_before: canary_before.map(TryInto::try_into).transpose()?,
            canary_after: canary_after.map(TryInto::try_into).transpose()?,
            trend_pct: trend_pct
                .map(|trend| finite(trend, "launch_heat.trend_pct"))
                .transpose()?,
            telemetry_gap: Duration::from_millis(amount(
                telemetry_gap_ms,
                "launch_heat.telemetry_gap_ms",
            )?),
            sensors_cost: sensors_cost.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Canary> for wire::Canary {
    fn from(canary: Canary) -> Self {
        let Canary {
            gemm_tflops,
            gemm_ratio,
            stream_gbps,
            stream_ratio,
        } = canary;
        Self {
            gemm_tflops,
            gemm_ratio,
            stream_gbps,
            stream_ratio,
        }
    }
}

impl TryFrom<wire::Canary> for Canary {
    type Error = Refusal;

    fn try_from(message: wire::Canary) -> Result<Self, Refusal> {
        let wire::Canary {
            gemm_tflops,
            gemm_ratio,
            stream_gbps,
            stream_ratio,
        } = message;
        Ok(Self {
            gemm_tflops: finite(gemm_tflops, "canary.gemm_tflops")?,
            gemm_ratio: finite(gemm_ratio, "canary.gemm_ratio")?,
            stream_gbps: finite(stream_gbps, "canary.stream_gbps")?,
            stream_ratio: finite(stream_ratio, "canary.stream_ratio")?,
        })
    }
}

impl From<SensorsCost> for wire::SensorsCost {
    fn from(cost: SensorsCost) -> Self {
        let SensorsCost { percent, low, high } = cost;
        Self { percent, low, high }
    }
}

impl TryFrom<wire::SensorsCost> for SensorsCost {
    type Error = Refusal;

    fn try_from(message: wire::SensorsCost) -> Result<Self, Refusal> {
        let wire::SensorsCost { percent, low, high } = message;
        Ok(Self {
            percent: finite(percent, "sensors_cost.percent")?,
            low: finite(low, "sensors_cost.low")?,
            high: finite(high, "sensors_cost.high")?,
        })
    }
}
