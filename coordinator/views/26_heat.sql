-- How warm the machine was beside each launch, and what that did.
create view report.heat as
select
    launch.run_id,
    launch.label,
    launch.machine_id,
    launch.machine,
    launch.chip,
    launch.suite,
    launch.model,
    launch.dtype,
    launch.case_key,
    launch.launch,
    launch.launch_id,
    launch.counted,
    heat.cooldown_ms / 1000.0::double precision as cooldown_s,
    heat.canary_gemm_tflops_before,
    heat.canary_gemm_ratio_before,
    heat.canary_stream_gbps_before,
    heat.canary_stream_ratio_before,
    heat.canary_gemm_tflops_after,
    heat.canary_gemm_ratio_after,
    heat.canary_stream_gbps_after,
    heat.canary_stream_ratio_after,
    heat.trend_pct,
    heat.telemetry_gap_ms as telemetry_gap_ms_max,
    heat.sensors_cost_pct,
    heat.sensors_cost_pct_low,
    heat.sensors_cost_pct_high,
    launch.reasons && array[
        'thermal', 'throttled_canary', 'throttled_clock', 'throttled_power', 'throttled_trend'
    ] as throttled,
    launch.reasons,
    launch.started_at
from fleet.heat
join report.launch using (launch_id);
comment on view report.heat is 'One row per launch that measured to its end or began to: how warm the machine was.';
comment on column report.heat.cooldown_s is 'how long the machine was left to cool before the launch';
comment on column report.heat.canary_gemm_tflops_before is 'the canary''s matrix products before the launch, bf16 on a GPU and f32 on a CPU; NULL where it was not asked for or failed';
comment on column report.heat.canary_gemm_ratio_before is 'the same over the best that this machine''s agent knows under these conditions';
comment on column report.heat.canary_stream_gbps_before is 'the canary''s stream through memory before the launch';
comment on column report.heat.canary_stream_ratio_before is 'the same over the best known';
comment on column report.heat.canary_gemm_tflops_after is 'the canary''s matrix products after the launch; NULL where the launch failed, too';
comment on column report.heat.canary_gemm_ratio_after is 'the same over the best known';
comment on column report.heat.canary_stream_gbps_after is 'the canary''s stream after the launch';
comment on column report.heat.canary_stream_ratio_after is 'the same over the best known';
comment on column report.heat.trend_pct is 'change of the rate over the measured iterations by a straight line, in percent of its mean; NULL of fewer than three in each mode';
comment on column report.heat.telemetry_gap_ms_max is 'the longest that sensors were silent';
comment on column report.heat.sensors_cost_pct is 'how much longer the canary''s work takes while sensors are read, in percent, measured once on this machine for each build of the system and of MLX; NULL until then';
comment on column report.heat.sensors_cost_pct_low is 'lower end of its 95 % interval';
comment on column report.heat.sensors_cost_pct_high is 'upper end of its 95 % interval';
comment on column report.heat.throttled is 'heat, or what looks like it: a reason of the family thermal, throttled_canary, throttled_clock, throttled_power, throttled_trend';
comment on column report.heat.reasons is 'doubts about the whole launch';
