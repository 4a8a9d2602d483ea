select
    machine as "machine!",
    suite as "suite!",
    model as "model!",
    dtype,
    case_key as "case_key!",
    launch as "launch!",
    sensor as "sensor!",
    mean_w,
    energy_j_per_token,
    reason as "reason!"
from report.energy
where run_id = $1
order by machine, suite, model, dtype, case_key, launch, sensor
