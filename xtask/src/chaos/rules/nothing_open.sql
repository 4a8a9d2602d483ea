-- No lease of the run lives on, and no launch still runs.
with told as (
    select
        format('lease %s of job %s', lease.lease_id, lease.job_id) as who,
        lease.state = 'live' as is_open
    from fleet.lease
    join fleet.job using (job_id)
    where job.run_id = $1
    union all
    select
        format('launch %s of job %s, %s #%s', launch_id, job_id, case_key, launch.ordinal),
        outcome = 'running'
    from fleet.launch
    join fleet.job using (job_id)
    where job.run_id = $1
)
select
    count(*) as checked,
    coalesce(array_agg(who || ' is open') filter (where is_open), '{}') as broken
from told
