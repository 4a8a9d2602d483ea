select
    job.job_id,
    machine.name,
    job.suite,
    job.model_label,
    coalesce(job.dtype, '') as "dtype!",
    job.state,
    job.reason,
    job.launches_total,
    done.launches as "launches_done!",
    job.started_at,
    job.ended_at,
    worked.seconds as "worked_s!",
    worked.since as "since?",
    coalesce(wrong.stderr_tail, '') as "log!"
from fleet.job
join fleet.machine on machine.machine_id = job.machine_id
cross join lateral (
    select count(*) as launches
    from fleet.launch
    where launch.job_id = job.job_id and launch.counted
) as done
cross join lateral (
    -- Not from its first beginning to its end: it may have waited for hours between two leases.
    select
        coalesce(sum(extract(epoch from ended_at - granted_at)), 0)::double precision as seconds,
        max(granted_at) filter (where state = 'live') as since
    from fleet.lease
    where lease.job_id = job.job_id
) as worked
left join lateral (
    select stderr_tail
    from fleet.launch
    where
        job.state in ('failed', 'parked')
        and launch.job_id = job.job_id
        and launch.outcome not in ('running', 'succeeded')
    order by launch.started_at desc
    limit 1
) as wrong on true
where job.run_id = $1
order by job.ordinal
