with summary as materialized (
    select summary.*, count(*) over () as of_all, array_position(run.headline, summary.metric) as place
    from report.case_summary as summary
    join fleet.run on run.run_id = summary.run_id
    where summary.run_id = $1 and summary.metric = any(run.headline)
    order by place, summary.model, summary.dtype, summary.case_key, summary.machine
    limit $2
)
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
    summary.of_all as "all!",
    (
        -- Ids of launches are ordered by the time of their making.
        select array_agg(measured.median order by measured.launch_id)
        from fleet.launch_metric as measured
        join fleet.launch on launch.launch_id = measured.launch_id and launch.counted
        where measured.case_id = mine.case_id and measured.metric = summary.metric
    ) as medians
from summary
-- The view knows a case by what it is, and hides its key. One by one, or the planner joins by run alone.
cross join lateral (
    select measured_case.case_id
    from fleet.measured_case
    where
        measured_case.run_id = summary.run_id
        and measured_case.machine_id = summary.machine_id
        and measured_case.suite = summary.suite
        and measured_case.case_key = summary.case_key
        and measured_case.model_source is not distinct from summary.model_source
        and measured_case.model_id is not distinct from summary.model_id
        and measured_case.dtype is not distinct from summary.dtype
    limit 1
) as mine
order by summary.place, summary.model, summary.dtype, summary.case_key, summary.machine
