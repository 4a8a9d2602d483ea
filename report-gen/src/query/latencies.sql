select
    machine as "machine!",
    model as "model!",
    dtype,
    case_key as "case_key!",
    gaps as "gaps!",
    p50_ms,
    p90_ms,
    p95_ms,
    p99_ms,
    max_ms as "max_ms!"
from report.latency
where run_id = $1
order by machine, model, dtype, case_key
