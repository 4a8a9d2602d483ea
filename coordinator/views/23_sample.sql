-- The record itself: every value of every counted launch, warm-up and measured, doubtful or not.
create view report.sample as
select
    job.run_id,
    machine.name as machine,
    machine.chip,
    coalesce(model.label, job.model_label) as model,
    job.suite,
    launch.case_key,
    launch.ordinal as launch,
    iteration.ordinal as iteration,
    iteration.phase,
    sample.metric,
    metric.unit,
    sample.value,
    not (launch.reasons || iteration.reasons) && (select report.invalid_reasons()) as valid,
    case
        when launch.reasons = '{}' then iteration.reasons
        else report.distinct_sorted(launch.reasons || iteration.reasons)
    end as reasons,
    (launch.reasons || iteration.reasons) && (select report.taint_reasons()) as tainted,
    metric.direction,
    coalesce(model.dtype, job.dtype) as dtype,
    model.quantisation,
    job.model_source,
    launch.model_id,
    model.digest as model_digest,
    iteration.mode,
    launch.position,
    launch.started_at + iteration.started_us * interval '1 microsecond' as started_at,
    run.label,
    lease.machine_id,
    launch.job_id,
    launch.launch_id,
    iteration.iteration_id,
    launch.environment_id,
    run.source
from fleet.sample
join fleet.metric using (metric)
join fleet.iteration using (iteration_id)
join fleet.launch using (launch_id)
join fleet.job using (job_id)
join fleet.run using (run_id)
join fleet.lease on lease.lease_id = launch.lease_id
join fleet.machine on machine.machine_id = lease.machine_id
left join fleet.model using (model_id)
where launch.counted;
comment on view report.sample is
    'One row per value of a metric from one iteration of a counted launch. Summaries use phase = ''measured''.';
comment on column report.sample.value is 'the value, in unit';
comment on column report.sample.started_at is 'when the timed region began';
comment on column report.sample.position is 'place in the interleaved order of the job''s launches';
