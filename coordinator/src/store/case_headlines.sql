select
    summary.machine as "machine!",
    summary.model as "model!",
    coalesce(summary.dtype, '') as "dtype!",
    summary.suite as "suite!",
    summary.case_key as "case_key!",
    summary.metric as "metric!",
    summary.unit as "unit!",
    summary.estimate as "estimate!",
    summary.ci_low,
    summary.ci_high,
    summary.launches as "launches!",
    summary.valid as "valid!",
    summary.tainted as "tainted!",
    summary.reasons as "reasons!",
    count(*) over () as "all!",
    (
        select array_agg(launch.median order by launch.started_at)
        from report.launch_summary as launch
        where launch.run_id = summary.run_id
            and launch.machine_id = summary.machine_id
            and launch.suite = summary.suite
            and launch.case_key = summary.case_key
            and launch.metric = summary.metric
            and launch.model_source is not distinct from summary.model_source
            and launch.dtype is not distinct from summary.dtype
    ) as medians
from report.case_summary as summary
join fleet.run on run.run_id = summary.run_id
where summary.run_id = $1 and summary.metric = any(run.headline)
order by array_position(run.headline, summary.metric), summary.model, summary.dtype, summary.case_key, summary.machine
limit $2
