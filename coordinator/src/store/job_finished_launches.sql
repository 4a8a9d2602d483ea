select
    launch.case_key,
    launch.ordinal,
    headline.median as "headline?"
from fleet.launch
left join lateral (
    -- The first of the suite's headline metrics that the case has.
    select percentile_cont(0.5) within group (order by sample.value) as median
    from fleet.iteration
    join fleet.sample using (iteration_id)
    where iteration.launch_id = launch.launch_id
        and iteration.phase = 'measured'
        and sample.metric = any($2::text[])
    group by sample.metric
    order by array_position($2::text[], sample.metric)
    limit 1
) as headline on true
where launch.job_id = $1 and launch.counted
order by launch.case_key, launch.ordinal
