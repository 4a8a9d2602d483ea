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
    job.ended_at
from fleet.job
join fleet.machine on machine.machine_id = job.machine_id
cross join lateral (
    select count(*) as launches
    from fleet.launch
    where launch.job_id = job.job_id and launch.counted
) as done
where job.run_id = $1
order by job.ordinal
