select
    machine as "machine!",
    models as "models!",
    case_key as "case_key!",
    kernel_floor_ms as "kernel_floor_ms!",
    ci_low,
    ci_high,
    gbps,
    r_squared as "r_squared!",
    valid as "valid!",
    tainted as "tainted!",
    reasons as "reasons!"
from report.kernel_floor
where run_id = $1
order by machine, models, dtype, case_key, environment_id
