select
    metric as "metric!",
    unit as "unit!",
    direction as "direction!",
    description as "description!"
from report.metric
order by metric
