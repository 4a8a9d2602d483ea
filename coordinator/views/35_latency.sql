-- Percentiles of the time between tokens, only where there are enough tokens for them: 20 / (1 - p)
-- gaps (40 for the median, 2000 for the 99th), else NULL. The bounds are order statistics; tokens of
-- one launch are not independent, so read them as indicative.
create view report.latency as
with pooled as (
    select
        iteration.run_id, iteration.label, iteration.machine_id, iteration.machine, iteration.chip,
        iteration.suite, iteration.model, iteration.model_source, iteration.model_id,
        iteration.model_digest, iteration.dtype, iteration.quantisation, iteration.case_key,
        count(distinct iteration.launch_id) as launches,
        count(*)::integer as gaps,
        array_agg(gap.ms order by gap.ms) as sorted
    from report.iteration
    cross join lateral (
        select (at - lag(at) over (order by place))::double precision / 1e6::double precision as ms
        from unnest(iteration.token_ns) with ordinality as token (at, place)
    ) as gap
    where iteration.counted
        and iteration.phase = 'measured'
        and iteration.mode = 'per_token'
        and gap.ms is not null
    group by
        iteration.run_id, iteration.label, iteration.machine_id, iteration.machine, iteration.chip,
        iteration.suite, iteration.model, iteration.model_source, iteration.model_id,
        iteration.model_digest, iteration.dtype, iteration.quantisation, iteration.case_key
),
doubt as (
    -- By iteration and not by gap, of which there are a hundred times as many.
    select
        run_id, machine_id, suite, model, model_source, model_id, dtype, case_key,
        report.distinct_sorted(report.concat_agg(reasons)) as reasons
    from report.iteration
    where counted and phase = 'measured' and mode = 'per_token'
    group by run_id, machine_id, suite, model, model_source, model_id, dtype, case_key
)
select
    pooled.run_id, pooled.label, pooled.machine_id, pooled.machine, pooled.chip, pooled.suite,
    pooled.model, pooled.dtype, pooled.case_key, pooled.launches, pooled.gaps,
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
    pooled.sorted[pooled.gaps] as max_ms,
    not doubt.reasons && (select report.invalid_reasons()) as valid,
    doubt.reasons && (select report.taint_reasons()) as tainted,
    doubt.reasons,
    pooled.quantisation,
    pooled.model_source,
    pooled.model_id,
    pooled.model_digest
from pooled
join doubt
    on doubt.run_id = pooled.run_id
    and doubt.machine_id = pooled.machine_id
    and doubt.suite = pooled.suite
    and doubt.model = pooled.model
    and doubt.case_key = pooled.case_key
    and doubt.model_source is not distinct from pooled.model_source
    and doubt.model_id is not distinct from pooled.model_id
    and doubt.dtype is not distinct from pooled.dtype
cross join lateral report.order_statistic(pooled.sorted, 0.5) as p50
cross join lateral report.order_statistic(pooled.sorted, 0.9) as p90
cross join lateral report.order_statistic(pooled.sorted, 0.95) as p95
cross join lateral report.order_statistic(pooled.sorted, 0.99) as p99;
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
