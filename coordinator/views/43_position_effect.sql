-- Whether it mattered when a launch ran. Each block of a job holds every case once, in an order of its
-- own, so that a place in the block belongs to no case: the logs of launch medians, less their case's
-- mean, should not depend on it, nor on the block. A line over either (least squares with a constant for
-- each case) says by how much they do.
create view report.position_effect as
with launched as (
    select
        summary.run_id, summary.label, launch.job_id, summary.machine_id, summary.machine,
        summary.chip, summary.suite, job.model_label as model, job.model_source, job.dtype,
        summary.case_key, summary.metric, summary.direction, summary.tainted,
        ln(summary.median) as value,
        summary.launch as block,
        summary.position % nullif(jsonb_array_length(job.cases), 0) as place
    from report.launch_summary as summary
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    where summary.median > 0 and summary.valid
),
-- Sums of squares about the case's own means.
centred as (
    select
        run_id, label, job_id, machine_id, machine, chip, suite, model, model_source, dtype, metric,
        direction, case_key, along.effect,
        count(*) as launches,
        min(along.place) as first_place,
        max(along.place) as last_place,
        regr_sxx(value, along.place) as sxx,
        regr_sxy(value, along.place) as sxy,
        regr_syy(value, along.place) as syy,
        bool_or(tainted) as tainted
    from launched
    cross join lateral (
        values ('place_in_block', launched.place), ('block', launched.block)
    ) as along (effect, place)
    where along.place is not null
    group by
        run_id, label, job_id, machine_id, machine, chip, suite, model, model_source, dtype, metric,
        direction, case_key, along.effect
),
fitted as (
    select
        run_id, label, job_id, machine_id, machine, chip, suite, model, model_source, dtype, metric,
        direction, effect,
        sum(launches)::bigint as launches,
        count(*) as cases,
        sum(launches)::bigint - count(*) - 1 as df,
        (max(last_place) - min(first_place))::double precision as span,
        sum(sxx) as sxx,
        sum(sxy) as sxy,
        sum(syy) as syy,
        bool_or(tainted) as tainted
    from centred
    group by
        run_id, label, job_id, machine_id, machine, chip, suite, model, model_source, dtype, metric,
        direction, effect
    -- Numbers whose cases all stood in one place say nothing of it.
    having sum(sxx) > 0 and sum(launches) - count(*) - 1 > 0
)
select
    run_id, machine, chip, suite, model, metric,
    effect,
    exp(log_effect) as last_over_first,
    exp(log_effect - report.t_quantile_975(df) * log_error) as ci_low,
    exp(log_effect + report.t_quantile_975(df) * log_error) as ci_high,
    log_error,
    df,
    launches,
    cases,
    direction,
    tainted,
    dtype, model_source, job_id, machine_id, label
from fitted
cross join lateral (
    select
        span * sxy / sxx as log_effect,
        span * sqrt(greatest(syy - sxy * sxy / sxx, 0) / df / sxx) as log_error
) as line;
comment on view report.position_effect is
    'Two rows per job and metric: what a launch''s place within its block, and its block, did to the value.';
comment on column report.position_effect.effect is 'place_in_block or block';
comment on column report.position_effect.last_over_first is
    'by the line, the value in the last place over that in the first: 1 where it made no difference';
comment on column report.position_effect.ci_low is 'lower end of its 95 % interval';
comment on column report.position_effect.ci_high is 'upper end of its 95 % interval';
comment on column report.position_effect.log_error is 'standard error of its log';
comment on column report.position_effect.df is 'degrees of freedom: launches less cases less one';
comment on column report.position_effect.cases is 'cases of the job with this metric';
comment on column report.position_effect.launches is 'valid counted launches behind it';
