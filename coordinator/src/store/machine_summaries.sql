select
    machine.machine_id,
    machine.name,
    machine.chip,
    machine.gpu_cores,
    machine.cpu_cores,
    machine.memory_bytes,
    machine.os,
    machine.os_version,
    machine.agent_version,
    machine.labels,
    machine.last_seen_at,
    machine.imported,
    coalesce(machine.last_seen_at > now() - make_interval(secs => $2), false) as "online!",
    job.job_id as "job_id?",
    job.suite as "suite?",
    job.model_label as "model_label?",
    certificate.fingerprint as "fingerprint?",
    certificate.expires_at as "expires_at?"
from fleet.machine
left join fleet.lease on lease.machine_id = machine.machine_id and lease.state = 'live'
left join fleet.job on job.job_id = lease.job_id
left join lateral (
    select fingerprint, expires_at
    from fleet.certificate
    where certificate.machine_id = machine.machine_id and revoked_at is null
    order by issued_at desc, expires_at desc
    limit 1
) as certificate on true
where $1::text is null or machine.name = $1 or machine.machine_id::text = $1
order by machine.name
