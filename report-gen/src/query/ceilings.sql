select
    machine as "machine!",
    stream_gbps,
    gemm_tflops_bf16,
    bandwidth_gbps,
    fp32_tflops,
    mbu_spec,
    nax_ratio,
    nax_observed,
    nax_expected as "nax_expected!",
    nax_built,
    tainted as "tainted!",
    reasons as "reasons!"
from report.ceiling
where run_id = $1
order by machine, environment_id
