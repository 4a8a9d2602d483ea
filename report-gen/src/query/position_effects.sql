select
    machine as "machine!",
    suite as "suite!",
    model as "model!",
    metric as "metric!",
    effect as "effect!",
    last_over_first as "last_over_first!",
    ci_low,
    ci_high,
    log_error as "log_error!",
    df as "df!"
from report.position_effect
where run_id = $1 and metric = any($2)
order by machine, suite, model, model_source, dtype, metric, effect
