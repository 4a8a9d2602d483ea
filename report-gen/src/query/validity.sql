select
    machine as "machine!",
    suite as "suite!",
    reason as "reason!",
    coalesce(severity, 'tainted') as "severity!",
    coalesce(description, '') as "description!",
    launches as "launches!",
    of_launches as "of_launches!"
from report.validity
where run_id = $1
order by machine, suite, reason
