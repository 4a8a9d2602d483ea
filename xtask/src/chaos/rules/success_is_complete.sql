-- A job that succeeded has each of its launches, counted once.
with told as (
    select
        job.job_id,
        jsonb_array_length(job.cases) * (run.protocol ->> 'launches')::integer as wanted,
        count(launch_id) as counted,
        count(distinct (case_key, launch.ordinal)) as distinct_ones
    from fleet.job
    join fleet.run using (run_id)
    left join fleet.launch on launch.job_id = job.job_id and launch.counted
    where job.run_id = $1 and job.state = 'succeeded'
    group by job.job_id, run.run_id
)
select
    count(*) as checked,
    coalesce(array_agg(format('job %s: %s launches of %s, %s of them different',
        job_id, counted, wanted, distinct_ones
    )) filter (where counted <> wanted or distinct_ones <> wanted), '{}') as broken
from told
