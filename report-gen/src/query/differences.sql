-- The comparison is much work and is asked for once: the baseline is chosen among its rows.
with pair as materialized (
    select
        machine, baseline, suite, model_source, model_digest, baseline_model_digest, dtype, case_key,
        metric, differences
    from report.comparison
    where run_id = $1 and metric = any($2)
)
select
    machine as "machine!",
    baseline as "baseline!",
    suite as "suite!",
    model_source,
    model_digest,
    baseline_model_digest,
    dtype,
    case_key as "case_key!",
    metric as "metric!",
    differences as "differences!"
from pair
where baseline = (
    select baseline
    from pair
    group by baseline
    order by count(*) filter (where differences = '{}') desc, baseline
    limit 1
)
