-- Each run's number against the same case's earlier runs on the same machine under the same protocol.
-- The threshold is learnt from how much the series moves anyway: max(2 %, Q3 + 3 IQR of the steps
-- between adjacent runs), and without eight earlier runs there is no verdict. A run under doubtful
-- conditions is judged by nobody and is nobody's history.
create view report.regression as
with series as (
    select
        summary.run_id, summary.label, run.submitted_at, summary.machine_id, summary.machine,
        summary.chip, summary.model, summary.model_source, summary.model_id, summary.model_digest,
        summary.dtype, summary.suite, summary.case_key, summary.metric, summary.unit,
        summary.direction, summary.estimate, summary.ci_low, summary.ci_high, summary.quantisation,
        summary.tainted, summary.reasons, run.protocol_md5,
        count(*) filter (where not summary.tainted) over history as earlier_runs,
        array_agg(summary.estimate) filter (where not summary.tainted) over history as earlier,
        array_agg(summary.run_id) filter (where not summary.tainted) over history as earlier_ids
    from report.case_summary as summary
    join (
        select
            run_id, submitted_at,
            -- How long to wait is no part of how it is measured.
            md5((protocol - array['launch_timeout_ms', 'gate_timeout_ms'])::text) as protocol_md5
        from fleet.run
    ) as run using (run_id)
    where summary.on_logs and summary.valid
    -- Arrays over one window, because joining a series with itself takes the square of all rows.
    window history as (
        partition by
            summary.label, summary.machine_id, summary.model_digest, summary.dtype, summary.suite,
            summary.case_key, summary.metric, run.protocol_md5
        order by run.submitted_at, summary.run_id
        rows between unbounded preceding and 1 preceding
    )
),
stepped as (
    select
        series.*,
        earlier_ids[earlier_runs] as previous_run_id,
        earlier[earlier_runs] as previous,
        estimate / earlier[earlier_runs] - 1 as change
    from series
),
walked as (
    select
        stepped.*,
        array_agg(abs(change)) filter (where not tainted) over (
            partition by
                label, machine_id, model_digest, dtype, suite, case_key, metric, protocol_md5
            order by submitted_at, run_id
            rows between unbounded preceding and 1 preceding
        ) as earlier_steps
    from stepped
),
judged as (
    select
        walked.*,
        greatest(0.02, spread.q3 + 3 * (spread.q3 - spread.q1)) as threshold
    from walked
    cross join lateral (
        select
            percentile_cont(0.25) within group (order by step) as q1,
            percentile_cont(0.75) within group (order by step) as q3
        from unnest(case when earlier_runs >= 8 then earlier_steps end) as step
    ) as spread
)
select
    run_id, machine, chip, model, suite, case_key, metric, unit,
    estimate,
    previous,
    change,
    case when earlier_runs >= 8 then threshold end as threshold,
    case
        when tainted then 'tainted'
        when earlier_runs < 8 then 'insufficient_history'
        when abs(change) <= threshold then 'unchanged'
        when direction = 'neutral' then 'changed'
        when (change > 0) = (direction = 'higher') then 'improved'
        else 'regressed'
    end as verdict,
    earlier_runs,
    previous_run_id,
    submitted_at,
    direction,
    tainted,
    reasons,
    dtype,
    model_source,
    model_id,
    model_digest,
    protocol_md5,
    machine_id,
    label,
    ci_low,
    ci_high,
    quantisation
from judged;
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
