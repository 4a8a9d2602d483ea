-- How noisy a machine is: the spread within a launch, which more iterations average away, and that between
-- launches, which only more launches do. Per case both are coefficients of variation; a machine's is the
-- median over its cases. The spread between launches is of their medians, so a little of that within is in
-- it too.
create view report.noise as
select
    run_id,
    label,
    machine,
    chip,
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
        run_id, label, machine_id, machine, chip, suite, metric,
        count(*) as launches,
        sqrt(avg(within_cv ^ 2)) as within_cv,
        stddev_samp(median) / nullif(abs(avg(median)), 0) as between_cv
    from report.launch_summary
    where valid
    group by
        run_id, label, machine_id, machine, chip, suite, metric, case_key, model_source, model_id, dtype
) as per_case
group by run_id, label, machine_id, machine, chip, suite, metric;
comment on view report.noise is
    'One row per run, machine, suite and metric: coefficients of variation within launches and between them.';
comment on column report.noise.cases is 'cases with a valid launch, each model''s its own';
comment on column report.noise.within_cv is 'of the measured iterations of a launch: quadratic mean over the launches of a case, median over cases; NULL with one iteration';
comment on column report.noise.between_cv is 'of the launch medians of a case, median over cases; NULL with one launch';
comment on column report.noise.worst_between_cv is 'the largest of any case';
