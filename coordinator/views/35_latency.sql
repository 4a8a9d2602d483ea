-- Percentiles of the time between tokens, only where there are enough tokens for them: 20 / (1 - p)
-- gaps (40 for the median, 2000 for the 99th), else NULL. The bounds are order statistics; tokens of
-- one launch are not independent, so read them as indicative.
create view report.latency as
with pooled as (
    select
        launch.run_id, launch.label, launch.machine_id, launch.machine, launch.chip, launch.suite,
        launch.model, launch.model_source, launch.model_id, launch.model_digest, launch.dtype,
        launch.quantisation, launch.case_key,
        count(*) filter (where region.gaps > 0) as launches,
        array_agg(launch.launch_id) as launch_ids,
        report.distinct_sorted(report.concat_agg(launch.reasons || region.doubts)) as reasons
    from fleet.launch_region as region
    join report.launch using (launch_id)
    where launch.counted and region.mode = 'per_token'
    group by
        launch.run_id, launch.label, launch.machine_id, launch.machine, launch.chip, launch.suite,
        launch.model, launch.model_source, launch.model_id, launch.model_digest, launch.dtype,
        launch.quantisation, launch.case_key
    having sum(region.gaps) > 0
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
        select ns::double precision / 1e6::double precision
        from (
            -- Slices, because to take the numbers of a long array one by one unpacks it for each.
            select unnest(token_ns[2:]) - unnest(token_ns[:cardinality(token_ns) - 1]) as ns
            from fleet.iteration
            where launch_id = any(pooled.launch_ids) and phase = 'measured' and mode = 'per_token'
        ) as gap
        order by ns
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
