-- Percentiles of the time between tokens, only where there are enough tokens for them: 20 / (1 - p)
-- gaps (40 for the median, 2000 for the 99th), else NULL. The bounds are order statistics; tokens of
-- one launch are not independent, so read them as indicative.
create view report.latency as
with pooled as (
    select
        run_id, label, machine_id, machine, chip, suite, model, model_source, model_id, model_digest,
        dtype, quantisation, case_key,
        count(distinct launch_id) filter (where cardinality(token_ns) > 1) as launches,
        array_agg(iteration_id) as iteration_ids,
        report.distinct_sorted(report.concat_agg(reasons)) as reasons
    from report.iteration
    where counted and phase = 'measured' and mode = 'per_token'
    group by
        run_id, label, machine_id, machine, chip, suite, model, model_source, model_id, model_digest,
        dtype, quantisation, case_key
    having bool_or(cardinality(token_ns) > 1)
)
select
    pooled.run_id, pooled.label, pooled.machine_id, pooled.machine, pooled.chip, pooled.suite,
    pooled.model, pooled.dtype, pooled.case_key, pooled.launches,
    cardinality(gap.sorted) as gaps,
    p50.value as p50_ms,
    p50.low as p50_low_ms,
    p50.high as p50_high_ms,
    p90.value as p90_ms,
    p90.low as p90_low_ms,
    p90.high as p90_high_ms,
    p95.value as p95_ms,
    p95.low as p95_low_ms,
    p95.high as p95_high_ms,
    p99.value as p99_ms,
    p99.low as p99_low_ms,
    p99.high as p99_high_ms,
    gap.sorted[cardinality(gap.sorted)] as max_ms,
    not pooled.reasons && (select report.invalid_reasons()) as valid,
    pooled.reasons && (select report.taint_reasons()) as tainted,
    pooled.reasons,
    pooled.quantisation,
    pooled.model_source,
    pooled.model_id,
    pooled.model_digest
from pooled
-- Sorted case by case: all gaps at once, with all that they belong to, would not fit in memory.
cross join lateral (
    select array(
        select (token_ns[place] - token_ns[place - 1])::double precision / 1e6::double precision
        from fleet.iteration
        cross join lateral generate_series(2, cardinality(token_ns)) as place
        where iteration_id = any(pooled.iteration_ids)
        order by 1
    ) as sorted
    offset 0
) as gap
cross join lateral report.order_statistic(gap.sorted, 0.5) as p50
cross join lateral report.order_statistic(gap.sorted, 0.9) as p90
cross join lateral report.order_statistic(gap.sorted, 0.95) as p95
cross join lateral report.order_statistic(gap.sorted, 0.99) as p99;
comment on view report.latency is
    'One row per run, machine, model and case decoded with a wait after each token: percentiles of the gaps.';
comment on column report.latency.gaps is 'times between tokens: the n of the percentiles';
comment on column report.latency.p50_ms is 'median; NULL below 40 gaps';
comment on column report.latency.p50_low_ms is 'lower end of the median''s 95 % interval';
comment on column report.latency.p50_high_ms is 'upper end of the median''s 95 % interval';
comment on column report.latency.p90_ms is '90th percentile; NULL below 200 gaps';
comment on column report.latency.p90_low_ms is 'lower end of the 90th percentile''s 95 % interval';
comment on column report.latency.p90_high_ms is 'upper end of the 90th percentile''s 95 % interval, at most the longest gap';
comment on column report.latency.p95_ms is '95th percentile; NULL below 400 gaps';
comment on column report.latency.p95_low_ms is 'lower end of the 95th percentile''s 95 % interval';
comment on column report.latency.p95_high_ms is 'upper end of the 95th percentile''s 95 % interval, at most the longest gap';
comment on column report.latency.p99_ms is '99th percentile; NULL below 2000 gaps';
comment on column report.latency.p99_low_ms is 'lower end of the 99th percentile''s 95 % interval';
comment on column report.latency.p99_high_ms is 'upper end of the 99th percentile''s 95 % interval, at most the longest gap';
comment on column report.latency.max_ms is 'the longest gap';
