-- Machine against machine in one run: the rows of report.pair that most ask for. Every ordered pair is a
-- row, so `where baseline = 'x'` is complete; to count pairs once, ask for machine < baseline.
create view report.comparison as
select
    run_id,
    machine,
    baseline,
    chip,
    baseline_chip,
    model,
    suite,
    case_key,
    metric,
    unit,
    estimate,
    baseline_estimate,
    ratio,
    ci_low,
    ci_high,
    verdict,
    differences,
    tainted,
    launches,
    baseline_launches,
    direction,
    df,
    dtype,
    quantisation,
    baseline_quantisation,
    model_source,
    model_id,
    model_digest,
    baseline_model_digest,
    machine_id,
    baseline_id,
    label
from report.pair
where baseline_run_id = run_id;
comment on view report.comparison is
    'One row per ordered pair of machines, case and metric of a run: ratio, 95 % Welch interval, verdict.';
comment on column report.comparison.machine is 'the machine that is judged';
comment on column report.comparison.estimate is 'the machine''s estimate, in unit';
comment on column report.comparison.ratio is 'machine''s value over the baseline''s (whichever way is better); NULL where differences says why';
comment on column report.comparison.ci_low is 'lower end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.comparison.ci_high is 'upper end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.comparison.verdict is 'faster or slower by more than 2 % (smaller or larger of bytes, better or worse of what is neither rate nor time), equivalent within 2 %, or inconclusive, by the whole interval and without correction for many comparisons; NULL for neutral metrics and where differences is not empty';
comment on column report.comparison.launches is 'launches of the machine';
comment on column report.comparison.tainted is 'a side was measured under doubtful conditions';
