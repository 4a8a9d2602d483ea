-- Energy of a launch's measured iterations, one mode at a time: the trapezoid under each power sensor
-- within each iteration and not between them. No number without at least 5 s of iterations and 90 % of
-- them covered by readings no further apart than 3 s. Pipelined decoding is the headline; a token that
-- was waited for costs more, so the modes are never mixed.
create view report.energy as
select
    run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launch_id, launch,
    mode,
    sensor,
    iterations,
    region_s,
    covered_s / nullif(region_s, 0) as covered_ratio,
    intervals,
    case when sound then mean_w end as mean_w,
    case when sound then max_w end as max_w,
    -- The uncovered rest is taken at the covered part's mean.
    case when sound then mean_w * region_s end as energy_j,
    tokens,
    case when sound then mean_w * region_s / nullif(tokens, 0) end as energy_j_per_token,
    case
        when region_s < 5 then 'measured iterations shorter than 5 s together'
        when not sound then 'less than 90 % of the iterations covered by readings'
        else ''
    end as reason,
    not reasons && (select report.invalid_reasons()) as valid,
    reasons && (select report.taint_reasons()) as tainted,
    reasons,
    quantisation,
    model_source,
    model_id,
    model_digest
from (
    select
        launch.run_id, launch.label, launch.machine_id, launch.machine, launch.chip, launch.suite,
        launch.model, launch.model_source, launch.model_id, launch.model_digest, launch.dtype,
        launch.quantisation, launch.case_key, launch.launch_id, launch.launch,
        power.mode,
        power.sensor,
        region.iterations,
        region.region_s,
        power.covered_s,
        power.intervals,
        power.covered_j / nullif(power.covered_s, 0) as mean_w,
        power.max_w,
        region.region_s >= 5 and power.covered_s >= 0.9 * region.region_s as sound,
        case when launch.suite in ('prefill', 'decode', 'sustained') then region.work end as tokens,
        report.distinct_sorted(launch.reasons || region.doubts) as reasons
    from fleet.launch_power as power
    join fleet.launch_region as region using (launch_id, mode)
    join report.launch using (launch_id)
    where launch.counted
) as judged;
comment on view report.energy is
    'One row per counted launch, mode and power sensor that could be read: energy of its measured iterations.';
comment on column report.energy.sensor is 'gpu_power_w, cpu_power_w or sys_power_w: what the energy includes';
comment on column report.energy.iterations is 'measured iterations of this mode in the launch';
comment on column report.energy.region_s is 'the measured iterations of this mode together';
comment on column report.energy.covered_ratio is 'share of the iterations between readings at most 3 s apart';
comment on column report.energy.intervals is 'intervals between readings that were used';
comment on column report.energy.mean_w is 'time-weighted mean power in the iterations';
comment on column report.energy.max_w is 'highest reading in or next to an iteration';
comment on column report.energy.energy_j is 'energy of the iterations, idle power included; NULL where reason says why';
comment on column report.energy.tokens is 'tokens of the iterations; NULL where work is not tokens of one kind';
comment on column report.energy.energy_j_per_token is 'energy_j over tokens';
comment on column report.energy.reason is 'why there is no energy; empty where there is';
