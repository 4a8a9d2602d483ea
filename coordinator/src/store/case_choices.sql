-- What cases can be chosen by, of the suite $1.
with
mine as materialized (
    select measured_case.*, machine.name as machine, machine.chip, run.label
    from fleet.measured_case
    join fleet.machine using (machine_id)
    join fleet.run using (run_id)
    where measured_case.suite = $1
)
select facet as "facet!", value as "value!"
from (
    select 'metric' as facet, case_metric.metric as value
    from mine
    join fleet.case_metric using (case_id)
    group by case_metric.metric
    union all
    select 'model', model from mine group by model
    union all
    select 'chip', chip from mine group by chip
    union all
    select 'precision', dtype from mine where dtype is not null group by dtype
    union all
    select 'machine', machine from mine group by machine
    union all
    select 'label', label from mine group by label
) as choice
order by facet, value
