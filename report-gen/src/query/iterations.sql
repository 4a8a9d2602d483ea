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
    launch as "launch!",
    value as "value!"
from report.sample
where run_id = $1
    and phase = 'measured'
    and metric = any($2)
    and (job_id, case_key) in (
        select job_id, case_key
        from report.launch
        where run_id = $1 and counted
        group by job_id, case_key
        having count(*) >= $3
    )
