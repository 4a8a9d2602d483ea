-- How noisy a machine is: the spread within a launch, which more iterations average away, and that between
-- launches, which only more launches do. Per case both are coefficients of variation; a machine's is the
-- median over its cases. The spread between launches is of their medians, so a little of that within is in
-- it too.
create view report.noise as
select
    run_id,
    run.label,
    machine.name as machine,
    machine.chip,
    suite,
    metric,
    count(*) as cases,
    sum(launches)::bigint as launches,
    percentile_cont(0.5) within group (order by within_cv) as within_cv,
    percentile_cont(0.5) within group (order by between_cv) as between_cv,
    max(between_cv) as worst_between_cv,
    machine_id
from (
    select
        measured_case.run_id, measured_case.machine_id, measured_case.suite, measured.metric,
        count(*) as launches,
        sqrt(avg(measured.within_cv ^ 2)) as within_cv,
        stddev_samp(measured.median) / nullif(abs(avg(measured.median)), 0) as between_cv
    from fleet.measured_case
    join fleet.launch_metric as measured using (case_id)
    join fleet.launch using (launch_id)
    where launch.counted
        and not (launch.reasons || measured.reasons) && (select report.invalid_reasons())
    group by
        measured_case.run_id, measured_case.machine_id, measured_case.suite, measured.metric, case_id
) as per_case
join fleet.run using (run_id)
join fleet.machine using (machine_id)
group by run_id, run.label, machine_id, machine.name, machine.chip, suite, metric;
comment on view report.noise is
    'One row per run, machine, suite and metric: coefficients of variation within launches and between them.';
comment on column report.noise.cases is 'cases with a valid launch, each model''s its own';
comment on column report.noise.within_cv is 'of the measured iterations of a launch: quadratic mean over the launches of a case, median over cases; NULL with one iteration';
comment on column report.noise.between_cv is 'of the launch medians of a case, median over cases; NULL with one launch';
comment on column report.noise.worst_between_cv is 'the largest of any case';
