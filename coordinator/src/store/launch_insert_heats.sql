insert into fleet.heat (
    launch_id, cooldown_ms, canary_gemm_tflops_before, canary_gemm_ratio_before,
    canary_stream_gbps_before, canary_stream_ratio_before, canary_gemm_tflops_after,
    canary_gemm_ratio_after, canary_stream_gbps_after, canary_stream_ratio_after, trend_pct,
    telemetry_gap_ms, sensors_cost_pct, sensors_cost_pct_low, sensors_cost_pct_high
)
select
    told.launch_id, told.cooldown_ms, told.gemm_tflops_before, told.gemm_ratio_before,
    told.stream_gbps_before, told.stream_ratio_before, told.gemm_tflops_after,
    told.gemm_ratio_after, told.stream_gbps_after, told.stream_ratio_after, told.trend_pct,
    told.telemetry_gap_ms, told.sensors_cost_pct, told.sensors_cost_pct_low,
    told.sensors_cost_pct_high
from unnest(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
    $8::float8[], $9::float8[], $10::float8[], $11::float8[], $12::float8[], $13::bigint[],
    $14::float8[], $15::float8[], $16::float8[]
) as told (
    lease_id, launch_id, cooldown_ms, gemm_tflops_before, gemm_ratio_before, stream_gbps_before,
    stream_ratio_before, gemm_tflops_after, gemm_ratio_after, stream_gbps_after,
    stream_ratio_after, trend_pct, telemetry_gap_ms, sensors_cost_pct,
    sensors_cost_pct_low, sensors_cost_pct_high
)
join fleet.launch on launch.launch_id = told.launch_id and launch.lease_id = told.lease_id
