select
    case
        when run.protocol ->> 'precision' is null then job.launches_total - made.launches
        -- How many more than the least a case wanted only its agent knows.
        else jsonb_array_length(job.cases) * $2::bigint - made.of_the_least
    end as "missing!"
from fleet.job
join fleet.run using (run_id)
cross join lateral (
    select
        coalesce(sum(launches), 0)::bigint as launches,
        coalesce(sum(least(launches, $2::bigint)), 0)::bigint as of_the_least
    from (
        select count(*) as launches
        from fleet.launch
        where launch.job_id = job.job_id and counted
        group by case_key
    ) as of_case
) as made
where job.job_id = $1
