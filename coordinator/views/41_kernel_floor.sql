-- What a token would take if no weights had to be read: the time between tokens over the bytes that one
-- reads, by least squares over the quantisations of one architecture on one machine under one set of
-- conditions, drawn out to no bytes. Kernels and the host's waits are what is left there.
create view report.kernel_floor as
with level as (
    select
        summary.run_id, summary.label, summary.machine_id, summary.machine, summary.chip,
        summary.case_key, summary.dtype, summary.estimate, summary.valid, summary.tainted,
        summary.reasons, summary.model, summary.quantisation,
        summary.environment_ids[1] as environment_id,
        model.model_type,
        model.parameters,
        model.decode_bytes::double precision as bytes
    from report.case_summary as summary
    join fleet.model using (model_id)
    where summary.suite = 'decode'
        and summary.metric = 'itl_ms'
        -- At a depth the cache is read too, whatever the weights are packed in.
        and report.case_parameter(summary.case_key, 'depth') = '0'
        and cardinality(summary.environment_ids) = 1
),
fitted as (
    select
        run_id, label, machine_id, machine, chip, case_key, environment_id, model_type,
        -- Quantised or not, and whatever it was trained to say, it runs the same layers.
        parameters, dtype,
        array_agg(model || ' (' || quantisation || ')' order by bytes) as models,
        count(*) as levels,
        regr_intercept(estimate, bytes) as intercept,
        regr_slope(estimate, bytes) as slope,
        regr_r2(estimate, bytes) as r_squared,
        regr_sxx(estimate, bytes) as sxx,
        regr_avgx(estimate, bytes) as mean_bytes,
        greatest(
            regr_syy(estimate, bytes) - regr_slope(estimate, bytes) * regr_sxy(estimate, bytes), 0
        ) / (count(*) - 2) as variance,
        bool_and(valid) as valid,
        bool_or(tainted) as tainted,
        report.distinct_sorted(report.concat_agg(reasons)) as reasons
    from level
    group by
        run_id, label, machine_id, machine, chip, case_key, environment_id, model_type, parameters,
        dtype
    having count(distinct bytes) >= 3
)
select
    run_id, machine, chip, model_type, parameters, dtype, case_key,
    intercept as kernel_floor_ms,
    intercept - half_width as ci_low,
    intercept + half_width as ci_high,
    case when slope > 0 then 1 / slope / 1e6 end as gbps,
    r_squared,
    levels,
    models,
    valid,
    tainted,
    reasons,
    environment_id, machine_id, label
from fitted
cross join lateral (
    select
        report.t_quantile_975(levels - 2) * sqrt(variance * (1.0 / levels + mean_bytes ^ 2 / sxx))
            as half_width
) as spread;
comment on view report.kernel_floor is
    'One row per machine and architecture of a run that was decoded in three quantisations or more: the time of a token that reads no weights.';
comment on column report.kernel_floor.model_type is 'the architecture';
comment on column report.kernel_floor.parameters is 'parameters of each of its models, packed values as what they stand for';
comment on column report.kernel_floor.dtype is 'what activations are computed in: bf16, f16 or f32';
comment on column report.kernel_floor.kernel_floor_ms is 'intercept of itl_ms over the bytes that a token reads, in ms';
comment on column report.kernel_floor.ci_low is 'lower end of its 95 % interval, by how far the quantisations lie from the line';
comment on column report.kernel_floor.ci_high is 'upper end of its 95 % interval';
comment on column report.kernel_floor.gbps is 'bytes per second by the line''s slope, in GB/s; NULL where more bytes take no longer';
comment on column report.kernel_floor.r_squared is 'share of the variance that the line explains';
comment on column report.kernel_floor.levels is 'models behind the line';
comment on column report.kernel_floor.models is 'which, by the bytes that they read';
