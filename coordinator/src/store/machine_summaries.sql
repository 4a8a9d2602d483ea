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
    machine.labels || machine.operator_labels as "labels!",
    machine.last_seen_at,
    machine.imported,
    machine.enrolled_at,
    machine.approved_at,
    machine.drained_at,
    machine.drained_by,
    machine.drain_reason,
    machine.refused_protocol,
    machine.virtual_machine,
    coalesce(machine.last_seen_at > now() - make_interval(secs => $2), false) as "online!",
    lease.granted_at as "granted_at?",
    job.job_id as "job_id?",
    job.suite as "suite?",
    job.model_label as "model_label?",
    launch.case_key as "case_key?",
    launch.started_at as "launched_at?",
    finished.mlx_version as "mlx_version?",
    finished.reasons as "reasons?",
    certificate.fingerprint as "fingerprint?",
    certificate.expires_at as "expires_at?",
    certificate.revoked_at as "revoked_at?",
    coalesce(certificate.expires_at <= now(), false) as "expired!",
    coalesce(certificate.expires_at <= now() + make_interval(secs => $3), false) as "expires_soon!"
from fleet.machine
left join fleet.lease on lease.machine_id = machine.machine_id and lease.state = 'live'
left join fleet.job on job.job_id = lease.job_id
left join lateral (
    select case_key, started_at
    from fleet.launch
    where launch.lease_id = lease.lease_id and launch.outcome = 'running'
    order by started_at desc
    limit 1
) as launch on true
left join lateral (
    select environment.mlx_version, launch.reasons
    from (
        select lease_id
        from fleet.lease
        where lease.machine_id = machine.machine_id
        order by granted_at desc
        -- The newest may have finished none yet.
        limit 2
    ) as newest
    join fleet.launch using (lease_id)
    join fleet.environment using (environment_id)
    where launch.finished_at is not null
    order by launch.finished_at desc
    limit 1
) as finished on true
left join lateral (
    select fingerprint, expires_at, revoked_at
    from fleet.certificate
    where certificate.machine_id = machine.machine_id
    order by revoked_at is not null, issued_at desc, expires_at desc
    limit 1
) as certificate on true
where $1::text[] is null or machine.name = any($1) or machine.machine_id::text = any($1)
order by machine.name
