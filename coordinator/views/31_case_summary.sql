-- The number to quote: location and 95 % interval of a metric for one case on one machine in one run.
--
-- Location is the geometric mean over launches of each launch's median; the interval is a t interval
-- on the logs of those medians; of one launch it is the median itself, untouched by logs. Where a value is not positive there is no log, and both are arithmetic.
create view report.case_summary as
select
    summary.run_id,
    machine.name as machine,
    machine.chip,
    summary.model,
    summary.suite,
    summary.case_key,
    summary.metric,
    metric.unit,
    launches,
    case when launches = 1 then max_median when on_logs then exp(mean) else mean end as estimate,
    case when on_logs then exp(mean - half_width) else mean - half_width end as ci_low,
    case when on_logs then exp(mean + half_width) else mean + half_width end as ci_high,
    doubted.invalid = 0 as valid,
    doubted.tainted > 0 as tainted,
    reasons,
    doubted.invalid as invalid_launches,
    doubted.tainted as tainted_launches,
    metric.direction,
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
    summary.dtype,
    model.quantisation,
    model.digest as model_digest,
    summary.model_source,
    summary.model_id,
    summary.machine_id,
    machine.simulated,
    run.label,
    summary.started_at,
    environment_ids,
    on_logs,
    mean as location_mean,
    sd as location_sd,
    run.source
from (
    select
        *,
        report.t_quantile_975(launches - 1) * sd / sqrt(launches) as half_width
    from fleet.case_metric
    join fleet.measured_case using (case_id)
) as summary
join fleet.run using (run_id)
join fleet.machine using (machine_id)
join fleet.metric using (metric)
left join fleet.model using (model_id)
cross join lateral (
    select
        count(*) filter (where codes && (select report.invalid_reasons())) as invalid,
        count(*) filter (where codes && (select report.taint_reasons())) as tainted
    from (
        select string_to_array(unnest(summary.doubted), ',') as codes
    ) as launch
) as doubted;
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
