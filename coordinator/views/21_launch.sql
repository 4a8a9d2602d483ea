-- One row per fresh worker process, whether it counts or is only evidence.
create view report.launch as
select
    launch.launch_id,
    job.run_id,
    run.label,
    launch.job_id,
    lease.machine_id,
    machine.name as machine,
    machine.chip,
    job.suite,
    coalesce(model.label, job.model_label) as model,
    launch.model_id,
    model.digest as model_digest,
    coalesce(model.dtype, job.dtype) as dtype,
    model.quantisation,
    launch.case_key,
    launch.ordinal as launch,
    launch.position,
    launch.seed,
    launch.counted,
    launch.outcome,
    launch.message,
    launch.steady,
    launch.warmup_iterations,
    launch.reasons,
    launch.started_at,
    launch.finished_at,
    extract(epoch from launch.finished_at - launch.started_at)::double precision as duration_s,
    launch.environment_id,
    launch.boot_id,
    launch.exit_code,
    launch.signal,
    launch.stderr_tail,
    launch.lease_id,
    run.source,
    job.model_source
from fleet.launch
join fleet.job using (job_id)
join fleet.run using (run_id)
join fleet.lease on lease.lease_id = launch.lease_id
join fleet.machine on machine.machine_id = lease.machine_id
left join fleet.model using (model_id);
comment on view report.launch is 'One row per fresh worker process.';
comment on column report.launch.position is 'place in the interleaved order of the job''s launches';
comment on column report.launch.seed is 'differs between launches, so that none repeats another''s accidents';
comment on column report.launch.outcome is 'succeeded, failed, timed_out, crashed, protocol_error, skipped, interrupted, cancelled, or running';
comment on column report.launch.message is 'why it failed, in the worker''s or the agent''s words; of an import, what its file says of means';
comment on column report.launch.steady is 'warm-up ended by agreement rather than by its limit';
comment on column report.launch.duration_s is 'life of the process';
comment on column report.launch.stderr_tail is 'the end of what the process wrote to its standard error';
comment on column report.launch.reasons is 'doubts about the whole launch';
