select
    machine as "machine!",
    suite as "suite!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    case_key as "case_key!",
    metric as "metric!",
    unit as "unit!",
    direction as "direction!",
    launch as "launch!",
    median as "median!",
    min as "min!",
    max as "max!",
    iterations as "iterations!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.launch_summary
where run_id = $1
