//! How warm a machine was beside a launch.

use std::time::Duration;

use domain::record::{Canary, LaunchHeat};

use crate::refusal::{Refusal, finite, millis, parse};
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
        } = heat;
        Self {
            launch_id: launch_id.to_string(),
            cooldown_ms: millis(cooldown),
            canary_before: canary_before.map(Into::into),
            canary_after: canary_after.map(Into::into),
            trend_pct,
            telemetry_gap_ms: millis(telemetry_gap),
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
        } = message;
        Ok(Self {
            launch_id: parse(&launch_id, "launch_heat.launch_id")?,
            cooldown: Duration::from_millis(cooldown_ms),
            canary_before: canary_before.map(TryInto::try_into).transpose()?,
            canary_after: canary_after.map(TryInto::try_into).transpose()?,
            trend_pct: trend_pct
                .map(|trend| finite(trend, "launch_heat.trend_pct"))
                .transpose()?,
            telemetry_gap: Duration::from_millis(telemetry_gap_ms),
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
