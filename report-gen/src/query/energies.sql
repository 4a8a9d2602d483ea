select
    machine as "machine!",
    suite as "suite!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    case_key as "case_key!",
    mode as "mode!",
    launch as "launch!",
    sensor as "sensor!",
    mean_w,
    energy_j_per_token,
    reason as "reason!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.energy
where run_id = $1
order by machine, suite, model, model_source, dtype, model_digest, case_key, mode, launch, sensor
