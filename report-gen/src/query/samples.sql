select
    machine as "machine!",
    suite as "suite!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    case_key as "case_key!",
    launch as "launch!",
    iteration as "iteration!",
    phase as "phase!",
    mode as "mode!",
    started_at,
    metric as "metric!",
    unit as "unit!",
    value as "value!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.sample
where run_id = $1
