-- Every machine beside the one that shares its conditions with most others, number by number. Which one
-- that is, is counted by what numbers may be compared with, not pair by pair.
select
    machine as "machine!",
    baseline as "baseline!",
    suite as "suite!",
    model_source,
    model_digest,
    baseline_model_digest,
    dtype,
    case_key as "case_key!",
    metric as "metric!",
    differences as "differences!"
from report.comparison
where run_id = $1
    and metric = any($2)
    and baseline_id = (
        select machine_id
        from (
            select
                machine,
                machine_id,
                count(*) over same_case as measured,
                case when comparable_as is null then 1 else count(*) over same_conditions end as comparable
            from report.comparable
            where run_id = $1 and metric = any($2)
            window
                same_case as (partition by suite, case_key, metric, model_source, dtype),
                same_conditions as (
                    partition by suite, case_key, metric, model_source, dtype, comparable_as
                )
        ) as numbered
        where measured > 1
        group by machine, machine_id
        order by sum(comparable - 1) desc, machine
        limit 1
    )
