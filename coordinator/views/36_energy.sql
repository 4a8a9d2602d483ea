-- Energy of a launch's measured iterations, one mode at a time: the trapezoid under each power sensor
-- within each iteration and not between them. No number without at least 5 s of iterations and 90 % of
-- them covered by readings no further apart than 3 s. Pipelined decoding is the headline; a token that
-- was waited for costs more, so the modes are never mixed.
create view report.energy as
with region as (
    select
        launch.run_id, launch.label, launch.machine_id, launch.machine, launch.chip, launch.suite,
        launch.model, launch.model_source, launch.model_id, launch.model_digest, launch.dtype,
        launch.quantisation, launch.case_key, launch.launch_id, launch.launch,
        measured.*,
        case when launch.suite in ('prefill', 'decode', 'sustained') then measured.work end as tokens,
        report.distinct_sorted(launch.reasons || measured.doubts) as reasons
    from report.launch
    -- Launch by launch, so that nothing is sorted with all that it belongs to.
    cross join lateral (
        select
            mode,
            count(*) as iterations,
            sum(duration_ns)::double precision / 1e9 as region_s,
            sum(work)::bigint as work,
            report.concat_agg(reasons) as doubts,
            array_agg(span.started_at) as starts,
            array_agg(span.stopped_at) as stops,
            min(span.started_at) as first_started_at,
            max(span.stopped_at) as last_stopped_at
        from fleet.iteration
        cross join lateral (
            select
                launch.started_at + started_us * interval '1 microsecond' as started_at,
                launch.started_at + (started_us + duration_ns / 1000.0) * interval '1 microsecond'
                    as stopped_at
        ) as span
        where iteration.launch_id = launch.launch_id and iteration.phase = 'measured'
        group by mode
    ) as measured
    where launch.counted
)
select
    run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launch_id, launch,
    mode,
    sensor,
    iterations,
    region_s,
    covered_s / nullif(region_s, 0) as covered_ratio,
    intervals,
    case when sound then measured_j / covered_s end as mean_w,
    case when sound then max_w end as max_w,
    -- The uncovered rest is taken at the covered part's mean.
    case when sound then measured_j / covered_s * region_s end as energy_j,
    tokens,
    case when sound then measured_j / covered_s * region_s / nullif(tokens, 0) end
        as energy_j_per_token,
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
    select *, region_s >= 5 and covered_s >= 0.9 * region_s as sound
    from region
    cross join lateral (
        select
            sensor,
            sum(overlap_s) as covered_s,
            sum(overlap_s * mean_w) as measured_j,
            max(max_w) as max_w,
            count(*) as intervals
        from (
            select
                step.sensor,
                (value + before_value) / 2 as mean_w,
                greatest(value, before_value) as max_w,
                date_part('epoch', least(at, stopped_at) - greatest(before_at, started_at)) as overlap_s
            from (
                select
                    sensor, at, value,
                    lag(at) over series as before_at,
                    lag(value) over series as before_value
                from fleet.reading
                where reading.machine_id = region.machine_id
                    and sensor in ('gpu_power_w', 'cpu_power_w', 'sys_power_w')
                    and at between region.first_started_at - interval '3 seconds'
                        and region.last_stopped_at + interval '3 seconds'
                window series as (partition by sensor order by at)
            ) as step
            join unnest(region.starts, region.stops) as span (started_at, stopped_at)
                on at > started_at and before_at < stopped_at
            where at - before_at <= interval '3 seconds'
        ) as part
        group by sensor
    ) as power
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
