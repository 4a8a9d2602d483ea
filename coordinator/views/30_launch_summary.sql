-- One value per launch, the median of its measured iterations: the unit of every interval, because
-- iterations of one process share its accidents and must not be counted as independent.
create view report.launch_summary as
select
    job.run_id,
    run.label,
    lease.machine_id,
    machine.name as machine,
    machine.chip,
    machine.simulated,
    coalesce(model.label, job.model_label) as model,
    job.model_source,
    launch.model_id,
    model.digest as model_digest,
    coalesce(model.dtype, job.dtype) as dtype,
    model.quantisation,
    job.suite,
    launch.case_key,
    launch.launch_id,
    launch.ordinal as launch,
    launch.position,
    launch.started_at,
    launch.environment_id,
    measured.metric,
    metric.unit,
    metric.direction,
    measured.median,
    measured.min,
    measured.max,
    measured.iterations,
    not (launch.reasons || measured.reasons) && (select report.invalid_reasons()) as valid,
    (launch.reasons || measured.reasons) && (select report.taint_reasons()) as tainted,
    case
        -- Those are kept each once and in order.
        when launch.reasons = '{}' then measured.reasons
        else report.distinct_sorted(launch.reasons || measured.reasons)
    end as reasons,
    run.source,
    measured.within_cv
from fleet.launch_metric as measured
join fleet.metric using (metric)
join fleet.launch using (launch_id)
join fleet.job using (job_id)
join fleet.run using (run_id)
join fleet.lease on lease.lease_id = launch.lease_id
join fleet.machine on machine.machine_id = lease.machine_id
left join fleet.model using (model_id)
where launch.counted;
comment on view report.launch_summary is
    'One row per counted launch and metric: the median over its measured iterations.';
comment on column report.launch_summary.median is 'median over the launch''s measured iterations, in unit';
comment on column report.launch_summary.within_cv is 'coefficient of variation of the launch''s measured iterations: standard deviation over mean; NULL with one iteration';
comment on column report.launch_summary.position is 'place in the interleaved order of the job''s launches';
