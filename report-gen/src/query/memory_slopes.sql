select
    machine as "machine!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    kv_bytes_per_token,
    kv_theory_bytes_per_token,
    peak_bytes_per_token,
    peak_r_squared,
    lengths as "lengths!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.memory_slope
where run_id = $1
order by machine, model, model_source, dtype, model_digest
