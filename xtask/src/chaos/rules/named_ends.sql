-- Every job of the run has ended once, in a state that says how, with a reason where it is no success; and
-- so has the run.
with told as (
    select
        format('job %s: %s', job.job_id, job.state) as who,
        case
            when job.state in ('queued', 'leased') then 'it has not ended'
            when job.state <> 'succeeded' and job.reason = '' then 'no reason'
            when (
                select count(*) from fleet.event where event.job_id = job.job_id and kind = 'job_ended'
            ) <> 1 then 'it did not end once'
        end as wrong
    from fleet.job
    where job.run_id = $1
    union all
    select
        format('run %s: %s', run.run_id, run.state),
        case
            when run.state = 'active' then 'it has not ended'
            when (
                select count(*) from fleet.event where event.run_id = run.run_id and kind = 'run_ended'
            ) <> 1 then 'it did not end once'
        end
    from fleet.run
    where run.run_id = $1
)
select
    count(*) as checked,
    coalesce(array_agg(who || ', ' || wrong) filter (where wrong is not null), '{}') as broken
from told
