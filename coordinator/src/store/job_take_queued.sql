select
    job.job_id,
    job.run_id,
    job.epoch,
    job.failures,
    job.model_source,
    job.dtype,
    job.cases,
    run.protocol
from fleet.job
join fleet.run on run.run_id = job.run_id
join fleet.machine on machine.machine_id = job.machine_id
where job.machine_id = $1
    and job.state = 'queued'
    and run.state = 'active'
    and machine.drained_at is null
    and machine.approved_at is not null
    and not exists (
        select from fleet.lease where lease.machine_id = $1 and lease.state = 'live'
    )
-- Of one priority the oldest run first: ids of runs are ordered by the time of their making.
order by job.priority desc, job.run_id, job.ordinal
limit 1
for update of job skip locked
