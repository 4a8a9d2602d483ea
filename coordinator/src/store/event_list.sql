select
    event.at,
    event.kind,
    event.run_id,
    event.job_id,
    event.lease_id,
    case when job.job_id is not null then concat_ws(' ', job.suite, job.model_label, job.dtype) end
        as "job",
    machine.name as "machine?",
    event.actor,
    event.detail
from (
    select *
    from fleet.event
    where ($1::uuid is null or run_id = $1) and ($2::uuid is null or machine_id = $2)
    order by event_id desc
    limit $3
) as event
left join fleet.job on job.job_id = event.job_id
left join fleet.machine on machine.machine_id = event.machine_id
order by event.event_id
