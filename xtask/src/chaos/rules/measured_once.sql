-- What counts was not measured again: not under a later lease, and not later under its own.
with counted as (
    select launch.launch_id, launch.job_id, case_key, launch.ordinal, launch.started_at, lease.epoch
    from fleet.launch
    join fleet.lease using (lease_id)
    join fleet.job on job.job_id = launch.job_id
    where job.run_id = $1 and counted
)
select
    (select count(*) from counted) as checked,
    coalesce(array_agg(format('launch %s (epoch %s) of job %s, %s #%s, counts, and %s (epoch %s) came after it',
        counted.launch_id, counted.epoch, counted.job_id, counted.case_key, counted.ordinal,
        again.launch_id, lease.epoch
    )), '{}') as broken
from counted
join fleet.launch as again
    on again.job_id = counted.job_id
    and again.case_key = counted.case_key
    and again.ordinal = counted.ordinal
    and again.launch_id <> counted.launch_id
join fleet.lease on lease.lease_id = again.lease_id
where lease.epoch > counted.epoch
    or lease.epoch = counted.epoch and again.started_at > counted.started_at
