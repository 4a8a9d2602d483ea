-- One row per pass of the timed region: the raw work and time that every rate is computed from.
create view report.iteration as
select
    job.run_id,
    run.label,
    lease.machine_id,
    machine.name as machine,
    machine.chip,
    job.suite,
    coalesce(model.label, job.model_label) as model,
    coalesce(model.dtype, job.dtype) as dtype,
    model.quantisation,
    job.model_source,
    launch.model_id,
    model.digest as model_digest,
    launch.case_key,
    launch.launch_id,
    launch.ordinal as launch,
    launch.counted,
    iteration.iteration_id,
    iteration.ordinal as iteration,
    iteration.phase,
    iteration.mode,
    launch.started_at + iteration.started_us * interval '1 microsecond' as started_at,
    iteration.duration_ns,
    iteration.work,
    iteration.token_ns,
    iteration.token_ids_sha256,
    report.distinct_sorted(launch.reasons || iteration.reasons) as reasons
from fleet.iteration
join fleet.launch using (launch_id)
join fleet.job using (job_id)
join fleet.run using (run_id)
join fleet.lease on lease.lease_id = launch.lease_id
join fleet.machine on machine.machine_id = lease.machine_id
left join fleet.model using (model_id);
comment on view report.iteration is 'One row per pass of the timed region, of every launch: filter by counted.';
comment on column report.iteration.started_at is 'when the timed region began';
comment on column report.iteration.duration_ns is 'how long the timed region took';
comment on column report.iteration.work is 'tokens, or bytes for the suite load';
comment on column report.iteration.token_ns is 'when each token''s value was known, since the region began';
comment on column report.iteration.token_ids_sha256 is 'identity of the tokens that came out';
