select
    machine as "machine!",
    suite,
    model,
    dtype,
    state as "state!",
    reason as "reason!",
    launches_total as "launches_total!",
    launches_counted as "launches_counted!",
    launches_failed as "launches_failed!"
from report.coverage
where run_id = $1
order by machine, suite, model, dtype
