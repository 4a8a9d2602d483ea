-- Percentiles of the time between tokens, only where there are enough tokens for them: 20 / (1 - p)
-- gaps (40 for the median, 2000 for the 99th), else NULL. The bounds are order statistics; tokens of
-- one launch are not independent, so read them as indicative.
create view report.latency as
select
    run_id, label, machine_id, machine, chip, suite, model, dtype, case_key, launches, gaps,
    case when gaps >= 40 then sorted[ceil(gaps * 0.5)::integer] end as p50_ms,
    case when gaps >= 40 then sorted[floor(gaps * 0.5 - 1.96 * sqrt(gaps * 0.25))::integer] end as p50_low_ms,
    case when gaps >= 40 then sorted[ceil(gaps * 0.5 + 1.96 * sqrt(gaps * 0.25))::integer + 1] end as p50_high_ms,
    case when gaps >= 200 then sorted[ceil(gaps * 0.9)::integer] end as p90_ms,
    case when gaps >= 400 then sorted[ceil(gaps * 0.95)::integer] end as p95_ms,
    case when gaps >= 2000 then sorted[ceil(gaps * 0.99)::integer] end as p99_ms,
    case when gaps >= 2000 then sorted[floor(gaps * 0.99 - 1.96 * sqrt(gaps * 0.0099))::integer] end as p99_low_ms,
    case when gaps >= 2000 then
        sorted[least(gaps, ceil(gaps * 0.99 + 1.96 * sqrt(gaps * 0.0099))::integer + 1)]
    end as p99_high_ms,
    sorted[gaps] as max_ms,
    valid
from (
    select
        iteration.run_id, iteration.label, iteration.machine_id, iteration.machine, iteration.chip,
        iteration.suite, iteration.model, iteration.dtype, iteration.case_key,
        count(distinct iteration.launch_id) as launches,
        count(*)::integer as gaps,
        array_agg(gap.ms order by gap.ms) as sorted,
        bool_and(not iteration.reasons && (select report.invalid_reasons())) as valid
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
        iteration.suite, iteration.model, iteration.dtype, iteration.case_key
) as pooled;
comment on view report.latency is
    'One row per run, machine, model and case decoded with a wait after each token: percentiles of the gaps.';
comment on column report.latency.gaps is 'times between tokens: the n of the percentiles';
comment on column report.latency.p50_ms is 'median; NULL below 40 gaps';
comment on column report.latency.p50_low_ms is 'lower end of the median''s 95 % interval';
comment on column report.latency.p50_high_ms is 'upper end of the median''s 95 % interval';
comment on column report.latency.p90_ms is '90th percentile; NULL below 200 gaps';
comment on column report.latency.p95_ms is '95th percentile; NULL below 400 gaps';
comment on column report.latency.p99_ms is '99th percentile; NULL below 2000 gaps';
comment on column report.latency.p99_low_ms is 'lower end of the 99th percentile''s 95 % interval';
comment on column report.latency.p99_high_ms is 'upper end of the 99th percentile''s 95 % interval, at most the longest gap';
comment on column report.latency.max_ms is 'the longest gap';
