-- Each run's number against the same case's earlier runs on the same machine under the same protocol.
-- The threshold is learnt from how much the series moves anyway: max(2 %, Q3 + 3 IQR of the steps
-- between adjacent runs), and without eight earlier runs there is no verdict. A run under doubtful
-- conditions is judged by nobody and is nobody's history.
create view report.series_point as
select
    summary.run_id, summary.label, run.submitted_at, summary.machine_id, summary.machine, summary.chip,
    summary.model, summary.model_source, summary.model_id, summary.model_digest, summary.dtype,
    summary.quantisation, summary.suite, summary.case_key, summary.metric, summary.unit,
    summary.direction, summary.estimate, summary.ci_low, summary.ci_high, summary.tainted,
    summary.reasons, run.protocol_md5
from report.case_summary as summary
join (
    select
        run_id, submitted_at,
        -- How long to wait is no part of how it is measured.
        md5((protocol - array['launch_timeout_ms', 'gate_timeout_ms'])::text) as protocol_md5
    from fleet.run
) as run using (run_id)
where summary.on_logs and summary.valid;
comment on view report.series_point is
    'One row per case summary that can stand in a series: valid, with its run''s time and rules.';
comment on column report.series_point.estimate is 'the run''s estimate, in unit';
comment on column report.series_point.ci_low is 'lower end of the 95 % interval; NULL with fewer than two launches';
comment on column report.series_point.ci_high is 'upper end of the 95 % interval; NULL with fewer than two launches';
comment on column report.series_point.protocol_md5 is 'the plan''s rules but its timeouts, in short: only runs of equal rules make a series';

create function report.step(
    estimate double precision, direction text, tainted boolean, earlier double precision[]
) returns table (
    previous double precision, change double precision, threshold double precision, verdict text
)
language sql immutable parallel safe rows 1
begin atomic
    select
        step.previous,
        step.change,
        usual.threshold,
        case
            when tainted then 'tainted'
            when usual.threshold is null then 'insufficient_history'
            when abs(step.change) <= usual.threshold then 'unchanged'
            when direction = 'neutral' then 'changed'
            when (step.change > 0) = (direction = 'higher') then 'improved'
            else 'regressed'
        end
    from (
        select
            earlier[cardinality(earlier)] as previous,
            estimate / earlier[cardinality(earlier)] - 1 as change
    ) as step
    cross join (
        -- Of fewer nobody knows what is usual.
        select case when cardinality(earlier) >= 8 then greatest(0.02, q3 + 3 * (q3 - q1)) end as threshold
        from (
            select
                percentile_cont(0.25) within group (order by abs(this / before - 1)) as q1,
                percentile_cont(0.75) within group (order by abs(this / before - 1)) as q3
            from unnest(earlier[2:], earlier[:cardinality(earlier) - 1]) as pair (this, before)
        ) as spread
    ) as usual;
end;
comment on function report.step(double precision, text, boolean, double precision[]) is
    'An estimate after the sound ones of earlier runs, oldest first: its change since the last, the largest change that is usual, and the verdict.';

create view report.regression as
select
    series.run_id, series.machine, series.chip, series.model, series.suite, series.case_key, series.metric,
    series.unit,
    series.estimate,
    step.previous,
    step.change,
    step.threshold,
    step.verdict,
    coalesce(cardinality(series.earlier), 0)::bigint as earlier_runs,
    series.earlier_ids[cardinality(series.earlier_ids)] as previous_run_id,
    series.submitted_at,
    series.direction,
    series.tainted,
    series.reasons,
    series.dtype,
    series.model_source,
    series.model_id,
    series.model_digest,
    series.protocol_md5,
    series.machine_id,
    series.label,
    series.ci_low,
    series.ci_high,
    series.quantisation
from (
    select
        point.*,
        array_agg(estimate) filter (where not tainted) over history as earlier,
        array_agg(run_id) filter (where not tainted) over history as earlier_ids
    from report.series_point as point
    -- Arrays over one window, because joining a series with itself takes the square of all rows.
    window history as (
        partition by label, machine_id, model_digest, dtype, suite, case_key, metric, protocol_md5
        order by submitted_at, run_id
        rows between unbounded preceding and 1 preceding
    )
) as series
cross join lateral report.step(series.estimate, series.direction, series.tainted, series.earlier) as step;
comment on view report.regression is
    'One row per valid case summary: its change since the previous run, and whether that is unusual.';
comment on column report.regression.estimate is 'this run''s estimate, in unit';
comment on column report.regression.ci_low is 'lower end of this run''s 95 % interval; NULL with fewer than two launches';
comment on column report.regression.ci_high is 'upper end of this run''s 95 % interval; NULL with fewer than two launches';
comment on column report.regression.previous is 'the previous run''s estimate, in unit';
comment on column report.regression.change is 'estimate over previous, less 1';
comment on column report.regression.threshold is 'largest change that is usual here: max(2 %, Q3 + 3 IQR of earlier steps); NULL without eight earlier runs';
comment on column report.regression.verdict is 'regressed, improved, unchanged, changed (neutral metrics), insufficient_history, or tainted (measured under doubtful conditions, so not judged)';
comment on column report.regression.earlier_runs is 'earlier runs of the same case, weights, protocol and machine, without tainted ones';
comment on column report.regression.previous_run_id is 'the run that it is compared with';
comment on column report.regression.protocol_md5 is 'the plan''s rules but its timeouts, in short: only runs of equal rules make a series';
