-- The series that this run's numbers end, as report.regression makes them but of the newest runs alone,
-- and what ran in each run.
with recent as (
    select run_id
    from report.run
    where run_id in (
            select run_id
            from report.job
            where machine_id = any(array(select machine_id from report.job where run_id = $1))
        )
        and submitted_at <= (select submitted_at from report.run where run_id = $1)
    order by submitted_at desc
    limit $3
),
series as materialized (
    select
        point.*,
        array_agg(estimate) filter (where not tainted) over history as earlier,
        bool_or(run_id = $1) over whole as is_here
    from report.series_point as point
    where metric = any($2)
        and machine_id = any(array(select machine_id from report.job where run_id = $1))
        and run_id = any(array(select run_id from recent))
        -- The first run has no history, and need not pay for one.
        and (select count(*) > 1 from recent)
    window
        whole as (
            partition by label, machine_id, model_digest, dtype, suite, case_key, metric, protocol_md5
        ),
        history as (
            whole order by submitted_at, run_id rows between unbounded preceding and 1 preceding
        )
),
software as (
    select
        run_id, machine_id,
        string_agg(distinct mlx_version, ', ' order by mlx_version) as mlx,
        string_agg(distinct os || ' ' || os_version || ' (' || os_build || ')', ', ') as system,
        string_agg(distinct suite_version || ' ' || left(suite_commit, 9), ', ') as worker
    from report.environment
    where run_id = any(array(select run_id from recent))
    group by run_id, machine_id
)
select
    series.machine as "machine!",
    series.suite as "suite!",
    series.model as "model!",
    series.dtype,
    series.quantisation,
    series.model_source as "model_source?",
    series.model_digest,
    series.case_key as "case_key!",
    series.metric as "metric!",
    series.unit as "unit!",
    series.direction as "direction!",
    series.run_id as "run_id!",
    series.submitted_at as "submitted_at!",
    series.estimate as "estimate!",
    series.ci_low,
    series.ci_high,
    series.tainted as "tainted!",
    step.verdict as "verdict!",
    step.change,
    step.threshold,
    coalesce(software.mlx, '') as "mlx!",
    coalesce(software.system, '') as "system!",
    coalesce(software.worker, '') as "worker!"
from series
cross join lateral report.step(series.estimate, series.direction, series.tainted, series.earlier) as step
left join software
    on software.run_id = series.run_id
    and software.machine_id = series.machine_id
where series.is_here
order by
    series.machine, series.suite, series.model_digest, series.dtype, series.case_key, series.metric,
    series.submitted_at, series.run_id
