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
    gbps,
    tflops,
    mbu_meas,
    mbu_spec,
    mfu_meas,
    mfu_spec,
    arith_intensity,
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.utilisation
where run_id = $1
order by machine, suite, model, model_source, dtype, model_digest, case_key, metric
