select
    machine as "machine!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    case_key as "case_key!",
    batch_knee,
    above_size as "above_size!",
    below_size,
    clear as "clear!",
    sizes as "sizes!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.batch_knee
where run_id = $1
order by machine, model, model_source, dtype, model_digest, case_key
