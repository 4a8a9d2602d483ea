-- The series that this run's numbers end, as report.regression makes them, and what ran in each run.
with series as materialized (
    select *
    from report.regression
    where metric = any($2)
        and machine_id = any(array(select machine_id from report.job where run_id = $1))
        -- The first run has no history, and need not pay for one.
        and (
            select count(distinct run_id) > 1
            from report.job
            where machine_id = any(array(select machine_id from report.job where run_id = $1))
        )
),
here as (
    select
        label, machine_id, coalesce(model_digest, '') as digest, coalesce(dtype, '') as type, suite,
        case_key, metric, protocol_md5, submitted_at
    from series
    where run_id = $1
),
software as (
    select
        run_id, machine_id,
        string_agg(distinct mlx_version, ', ' order by mlx_version) as mlx,
        string_agg(distinct os || ' ' || os_version || ' (' || os_build || ')', ', ') as system,
        string_agg(distinct suite_version || ' ' || left(suite_commit, 9), ', ') as worker
    from report.environment
    where run_id = any(array(select distinct run_id from series))
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
    series.verdict as "verdict!",
    series.change,
    series.threshold,
    coalesce(software.mlx, '') as "mlx!",
    coalesce(software.system, '') as "system!",
    coalesce(software.worker, '') as "worker!"
from series
join here
    on here.label = series.label
    and here.machine_id = series.machine_id
    and here.digest = coalesce(series.model_digest, '')
    and here.type = coalesce(series.dtype, '')
    and here.suite = series.suite
    and here.case_key = series.case_key
    and here.metric = series.metric
    and here.protocol_md5 = series.protocol_md5
    and here.submitted_at >= series.submitted_at
left join software
    on software.run_id = series.run_id
    and software.machine_id = series.machine_id
order by
    series.machine, series.suite, series.model_digest, series.dtype, series.case_key, series.metric,
    series.submitted_at, series.run_id
