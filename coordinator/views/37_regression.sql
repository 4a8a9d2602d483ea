-- Each run's number against the same case's earlier runs on the same machine. The threshold is learnt
-- from how much the series moves anyway: max(2 %, Q3 + 3 IQR of the steps between adjacent runs), and
-- without eight earlier runs there is no verdict.
create view report.regression as
with series as materialized (
    select
        summary.run_id, summary.label, run.submitted_at, summary.machine_id, summary.machine,
        summary.chip, summary.model, summary.model_digest, summary.dtype, summary.suite,
        summary.case_key, summary.metric, summary.unit, summary.direction, summary.estimate,
        summary.valid, summary.tainted,
        row_number() over history - 1 as earlier_runs,
        lag(summary.run_id) over history as previous_run_id,
        lag(summary.estimate) over history as previous,
        abs(summary.estimate / nullif(lag(summary.estimate) over history, 0) - 1) as step
    from report.case_summary as summary
    join fleet.run using (run_id)
    where summary.on_logs and summary.valid
    window history as (
        partition by
            summary.label, summary.machine_id, summary.model_digest, summary.dtype, summary.suite,
            summary.case_key, summary.metric
        order by run.submitted_at, summary.run_id
    )
),
judged as (
    select
        series.*,
        series.estimate / series.previous - 1 as change,
        greatest(0.02, spread.q3 + 3 * (spread.q3 - spread.q1)) as threshold
    from series
    cross join lateral (
        select
            percentile_cont(0.25) within group (order by past.step) as q1,
            percentile_cont(0.75) within group (order by past.step) as q3
        from series as past
        where past.label = series.label
            and past.machine_id = series.machine_id
            and past.model_digest is not distinct from series.model_digest
            and past.dtype is not distinct from series.dtype
            and past.suite = series.suite
            and past.case_key = series.case_key
            and past.metric = series.metric
            and past.earlier_runs < series.earlier_runs
    ) as spread
)
select
    run_id, machine, chip, model, suite, case_key, metric, unit,
    estimate,
    previous,
    change,
    case when earlier_runs >= 8 then threshold end as threshold,
    case
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
    dtype,
    model_digest,
    machine_id,
    label
from judged;
comment on view report.regression is
    'One row per valid case summary: its change since the previous run, and whether that is unusual.';
comment on column report.regression.estimate is 'this run''s estimate, in unit';
comment on column report.regression.previous is 'the previous run''s estimate, in unit';
comment on column report.regression.change is 'estimate over previous, less 1';
comment on column report.regression.threshold is 'largest change that is usual here: max(2 %, Q3 + 3 IQR of earlier steps); NULL without eight earlier runs';
comment on column report.regression.verdict is 'regressed, improved, unchanged, changed (neutral metrics), or insufficient_history';
comment on column report.regression.earlier_runs is 'earlier runs of the same case, weights and machine';
comment on column report.regression.previous_run_id is 'the run that it is compared with';
