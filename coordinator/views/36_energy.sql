-- Energy of a launch's measured part: the trapezoid under each power sensor from the first measured
-- iteration's begin to the last one's end. No number without at least 5 s and 90 % of it covered by
-- readings no further apart than 3 s.
create view report.energy as
with window_of_launch as (
    select
        run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launch_id, launch,
        min(started_at) as began_at,
        max(started_at + duration_ns / 1000.0 * interval '1 microsecond') as ended_at,
        case when suite in ('prefill', 'decode') then sum(work)::bigint end as tokens
    from report.iteration
    where counted and phase = 'measured'
    group by
        run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launch_id, launch
),
integrated as (
    select
        span.*,
        power.sensor,
        extract(epoch from span.ended_at - span.began_at)::double precision as region_s,
        sum(power.overlap_s) as covered_s,
        sum(power.overlap_s * power.mean_w) as measured_j,
        max(power.max_w) as max_w,
        count(*) as intervals
    from window_of_launch as span
    cross join lateral (
        select
            sensor,
            (value + before_value) / 2 as mean_w,
            greatest(value, before_value) as max_w,
            extract(epoch from
                least(at, span.ended_at) - greatest(before_at, span.began_at)
            )::double precision as overlap_s
        from (
            select
                sensor, at, value,
                lag(at) over series as before_at,
                lag(value) over series as before_value
            from fleet.reading
            where reading.machine_id = span.machine_id
                and sensor in ('gpu_power_w', 'cpu_power_w', 'sys_power_w')
                and at between span.began_at - interval '3 seconds'
                    and span.ended_at + interval '3 seconds'
            window series as (partition by sensor order by at)
        ) as step
        where at - before_at <= interval '3 seconds'
            and at > span.began_at
            and before_at < span.ended_at
    ) as power
    group by
        span.run_id, span.label, span.machine_id, span.machine, span.chip, span.suite, span.model,
        span.dtype, span.case_key, span.launch_id, span.launch, span.began_at, span.ended_at,
        span.tokens, power.sensor
)
select
    run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launch_id, launch,
    sensor,
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
        when region_s < 5 then 'region shorter than 5 s'
        when not sound then 'less than 90 % of the region covered by readings'
        else ''
    end as reason
from (
    select *, region_s >= 5 and covered_s >= 0.9 * region_s as sound from integrated
) as judged;
comment on view report.energy is
    'One row per counted launch and power sensor that could be read: energy of its measured part.';
comment on column report.energy.sensor is 'gpu_power_w, cpu_power_w or sys_power_w: what the energy includes';
comment on column report.energy.region_s is 'from the first measured iteration''s begin to the last one''s end';
comment on column report.energy.covered_ratio is 'share of the region between readings at most 3 s apart';
comment on column report.energy.intervals is 'intervals between readings that were used';
comment on column report.energy.mean_w is 'time-weighted mean power in the region';
comment on column report.energy.max_w is 'highest reading in or next to the region';
comment on column report.energy.energy_j is 'energy of the region, idle power included; NULL where reason says why';
comment on column report.energy.tokens is 'tokens of the measured iterations; NULL where work is not tokens of one kind';
comment on column report.energy.energy_j_per_token is 'energy_j over tokens';
comment on column report.energy.reason is 'why there is no energy; empty where there is';
