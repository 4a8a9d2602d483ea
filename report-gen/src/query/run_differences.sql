select
    machine as "machine!",
    suite as "suite!",
    model_source,
    model_digest,
    baseline_model_digest,
    dtype,
    case_key as "case_key!",
    metric as "metric!",
    differences as "differences!"
from report.pair
where run_id = $1
    and baseline_run_id = $2
    and machine_id = baseline_id
    and metric = any($3)
