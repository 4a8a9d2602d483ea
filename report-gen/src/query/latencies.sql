select
    machine as "machine!",
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest,
    case_key as "case_key!",
    gaps as "gaps!",
    p50_ms,
    p50_low_ms,
    p50_high_ms,
    p90_ms,
    p90_low_ms,
    p90_high_ms,
    p95_ms,
    p95_low_ms,
    p95_high_ms,
    p99_ms,
    p99_low_ms,
    p99_high_ms,
    max_ms as "max_ms!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.latency
where run_id = $1
order by machine, model, model_source, dtype, model_digest, case_key
