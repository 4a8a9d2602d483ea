-- One value per launch, the median of its measured iterations: the unit of every interval, because
-- iterations of one process share its accidents and must not be counted as independent.
create view report.launch_summary as
select
    per_launch.run_id,
    run.label,
    per_launch.machine_id,
    machine.name as machine,
    machine.chip,
    machine.simulated,
    coalesce(model.label, per_launch.model_label) as model,
    per_launch.model_source,
    per_launch.model_id,
    model.digest as model_digest,
    coalesce(model.dtype, per_launch.job_dtype) as dtype,
    model.quantisation,
    per_launch.suite,
    per_launch.case_key,
    per_launch.launch_id,
    per_launch.launch,
    per_launch.position,
    per_launch.started_at,
    per_launch.environment_id,
    per_launch.metric,
    metric.unit,
    metric.direction,
    per_launch.median,
    per_launch.min,
    per_launch.max,
    per_launch.iterations,
    not per_launch.reasons && (select report.invalid_reasons()) as valid,
    per_launch.reasons && (select report.taint_reasons()) as tainted,
    report.distinct_sorted(per_launch.reasons) as reasons,
    run.source,
    per_launch.within_cv
from (
    select
        job.run_id,
        job.suite,
        job.model_source,
        job.model_label,
        job.dtype as job_dtype,
        lease.machine_id,
        launch.launch_id,
        launch.case_key,
        launch.ordinal as launch,
        launch.position,
        launch.started_at,
        launch.model_id,
        launch.environment_id,
        sample.metric,
        percentile_cont(0.5) within group (order by sample.value) as median,
        min(sample.value) as min,
        max(sample.value) as max,
        count(*) as iterations,
        stddev_samp(sample.value) / nullif(abs(avg(sample.value)), 0) as within_cv,
        launch.reasons || report.concat_agg(iteration.reasons) as reasons
    from fleet.sample
    join fleet.iteration using (iteration_id)
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    join fleet.lease on lease.lease_id = launch.lease_id
    where launch.counted and iteration.phase = 'measured'
    -- The run stands in the grouping so that a condition on it reaches the tables below.
    group by launch.launch_id, job.job_id, job.run_id, lease.lease_id, sample.metric
) as per_launch
join fleet.run using (run_id)
join fleet.machine using (machine_id)
join fleet.metric using (metric)
left join fleet.model using (model_id);
comment on view report.launch_summary is
    'One row per counted launch and metric: the median over its measured iterations.';
comment on column report.launch_summary.median is 'median over the launch''s measured iterations, in unit';
comment on column report.launch_summary.within_cv is 'coefficient of variation of the launch''s measured iterations: standard deviation over mean; NULL with one iteration';
comment on column report.launch_summary.position is 'place in the interleaved order of the job''s launches';
