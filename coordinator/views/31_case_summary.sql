-- The number to quote: location and 95 % interval of a metric for one case on one machine in one run.
--
-- Location is the geometric mean over launches of each launch's median; the interval is a t interval
-- on the logs of those medians; of one launch it is the median itself, untouched by logs. Where a value is not positive there is no log, and both are arithmetic.
create view report.case_summary as
select
    run_id,
    machine,
    chip,
    model,
    suite,
    case_key,
    metric,
    unit,
    launches,
    case when launches = 1 then max_median when on_logs then exp(mean) else mean end as estimate,
    case when on_logs then exp(mean - half_width) else mean - half_width end as ci_low,
    case when on_logs then exp(mean + half_width) else mean + half_width end as ci_high,
    valid,
    tainted,
    reasons,
    invalid_launches,
    tainted_launches,
    direction,
    iterations,
    min,
    max,
    cv,
    case
        when on_logs and launches > 1 then 'geometric mean, t on logs'
        when on_logs then 'one launch'
        when launches > 1 then 'arithmetic mean, t'
        else 'one launch, not positive'
    end as method,
    dtype,
    quantisation,
    model_digest,
    model_source,
    model_id,
    machine_id,
    simulated,
    label,
    started_at,
    environment_ids,
    on_logs,
    mean as location_mean,
    sd as location_sd,
    source
from (
    select
        *,
        report.t_quantile_975(launches - 1) * sd / sqrt(launches) as half_width
    from (
        select
            per_case.*,
            case when on_logs then log_mean else plain_mean end as mean,
            case when on_logs then log_sd else plain_sd end as sd
        from (
            select
                run_id, label, source, machine_id, machine, chip, simulated, model, model_source, model_id,
                model_digest, dtype, quantisation, suite, case_key, metric, unit, direction,
                count(*) as launches,
                sum(iterations)::bigint as iterations,
                min(min) as min,
                max(max) as max,
                min(median) > 0 as on_logs,
                max(median) as max_median,
                avg(ln(median)) filter (where median > 0) as log_mean,
                stddev_samp(ln(median)) filter (where median > 0) as log_sd,
                avg(median) as plain_mean,
                stddev_samp(median) as plain_sd,
                stddev_samp(median) / nullif(abs(avg(median)), 0) as cv,
                bool_and(valid) as valid,
                bool_or(tainted) as tainted,
                count(*) filter (where not valid) as invalid_launches,
                count(*) filter (where tainted) as tainted_launches,
                report.distinct_sorted(report.concat_agg(reasons)) as reasons,
                min(started_at) as started_at,
                array_agg(distinct environment_id order by environment_id)
                    filter (where environment_id is not null) as environment_ids
            from report.launch_summary
            group by
                run_id, label, source, machine_id, machine, chip, simulated, model, model_source, model_id,
                model_digest, dtype, quantisation, suite, case_key, metric, unit, direction
        ) as per_case
    ) as located
) as summary;
comment on view report.case_summary is
    'One row per run, machine, model, case and metric: estimate and 95 % interval over launches.';
comment on column report.case_summary.estimate is 'geometric mean over launches of the launch medians, in unit (arithmetic where method says so)';
comment on column report.case_summary.ci_low is 'lower end of the 95 % interval; NULL with fewer than two launches';
comment on column report.case_summary.ci_high is 'upper end of the 95 % interval; NULL with fewer than two launches';
comment on column report.case_summary.valid is 'no launch has a doubt that makes its number mean something else';
comment on column report.case_summary.method is 'how estimate and interval were computed';
comment on column report.case_summary.launches is 'launches behind the estimate: the n of the interval';
comment on column report.case_summary.started_at is 'when its first launch began';
comment on column report.case_summary.environment_ids is 'the conditions of its launches; more than one means they changed';
comment on column report.case_summary.on_logs is 'location_mean and location_sd are of logs';
comment on column report.case_summary.location_mean is 'mean over launches, of logs where on_logs';
comment on column report.case_summary.location_sd is 'sample standard deviation over launches, of logs where on_logs';
