-- Whether it mattered when a launch ran. Each block of a job holds every case once, in an order of its
-- own, so that a place in the block belongs to no case: the logs of launch medians, less their case's
-- mean, should not depend on it, nor on the block. A line over either (least squares with a constant for
-- each case) says by how much they do.
create view report.position_effect as
with launched as (
    select
        job.run_id, launch.job_id, measured.metric, launch.case_key,
        ln(measured.median) as value,
        launch.ordinal as block,
        launch.position % nullif(jsonb_array_length(job.cases), 0) as place,
        (launch.reasons || measured.reasons) && (select report.taint_reasons()) as tainted
    from fleet.launch_metric as measured
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    where launch.counted
        and measured.median > 0
        and not (launch.reasons || measured.reasons) && (select report.invalid_reasons())
),
-- Sums of squares about the case's own means.
centred as (
    select
        run_id, job_id, metric, case_key,
        count(place) as placed,
        min(place) as first_place,
        max(place) as last_place,
        regr_sxx(value, place) as place_sxx,
        regr_sxy(value, place) as place_sxy,
        regr_syy(value, place) as place_syy,
        count(*) as launches,
        min(block) as first_block,
        max(block) as last_block,
        regr_sxx(value, block) as block_sxx,
        regr_sxy(value, block) as block_sxy,
        regr_syy(value, block) as block_syy,
        bool_or(tainted) as tainted
    from launched
    group by run_id, job_id, metric, case_key
),
fitted as (
    select
        run_id, job_id, metric, effect,
        sum(along.launches)::bigint as launches,
        count(*) as cases,
        sum(along.launches)::bigint - count(*) - 1 as df,
        (max(last) - min(first))::double precision as span,
        sum(sxx) as sxx,
        sum(sxy) as sxy,
        sum(syy) as syy,
        bool_or(tainted) as tainted
    from centred
    cross join lateral (
        values
            ('place_in_block', placed, first_place, last_place, place_sxx, place_sxy, place_syy),
            ('block', launches, first_block, last_block, block_sxx, block_sxy, block_syy)
    ) as along (effect, launches, first, last, sxx, sxy, syy)
    where along.launches > 0
    group by run_id, job_id, metric, effect
    -- Numbers whose cases all stood in one place say nothing of it.
    having sum(sxx) > 0 and sum(along.launches) - count(*) - 1 > 0
)
select
    fitted.run_id, machine.name as machine, machine.chip, job.suite, job.model_label as model, metric,
    effect,
    exp(log_effect) as last_over_first,
    exp(log_effect - report.t_quantile_975(df) * log_error) as ci_low,
    exp(log_effect + report.t_quantile_975(df) * log_error) as ci_high,
    log_error,
    df,
    fitted.launches,
    fitted.cases,
    metric.direction,
    fitted.tainted,
    job.dtype, job.model_source, job_id, machine_id, run.label
from fitted
join fleet.job using (job_id)
join fleet.run on run.run_id = fitted.run_id
join fleet.machine using (machine_id)
join fleet.metric using (metric)
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
