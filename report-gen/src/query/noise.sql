select
    machine as "machine!",
    suite as "suite!",
    metric as "metric!",
    cases as "cases!",
    launches as "launches!",
    within_cv,
    between_cv,
    worst_between_cv
from report.noise
where run_id = $1 and metric = any($2)
order by suite, metric, machine
