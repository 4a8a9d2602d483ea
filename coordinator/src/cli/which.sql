-- One case stands for the ranking of a model: within the context, the longest of those that most machines
-- have.
with found as materialized (
    select *
    from report.which_machine
    where {names}
),
chosen as (
    select distinct on (model_id) model_id, case_key
    from (
        select model_id, case_key, count(estimate) as machines, max(case_tokens) as tokens
        from found
        where case_tokens <= {context}
        group by model_id, case_key
    ) as counted
    order by model_id, machines desc, tokens desc, case_key
),
shown as (
    select distinct on (found.model_id, found.machine_id)
        found.model_id, found.model, concat_ws(', ', nullif(found.quantisation, 'none'), found.dtype) as precision,
        found.machine, found.chip, found.decode_ceiling_tps, found.context_tokens,
        chosen.case_key,
        case when chosen.model_id is not null then found.estimate end as estimate,
        found.ci_low, found.ci_high, found.launches, found.reasons, found.mlx_version, found.run_id
    from found
    left join chosen using (model_id, case_key)
    order by found.model_id, found.machine_id, chosen.model_id
),
placed as (
    select
        *,
        case
            when context_tokens is null and estimate is null then 'unknown'
            when context_tokens < {context} then 'would not fit'
            when estimate is null then 'fits, not measured'
            else 'measured'
        end as standing
    from shown
)
select
    model,
    precision,
    machine,
    chip,
    standing,
    case when standing = 'measured' then round(estimate::numeric, 2) end as decode_tps,
    case when standing = 'measured' then round(ci_low::numeric, 2) end as ci_low,
    case when standing = 'measured' then round(ci_high::numeric, 2) end as ci_high,
    case when standing = 'measured' then launches end as launches,
    case when standing = 'measured' then case_key end as case,
    case when standing = 'measured' then nullif(array_to_string(reasons, ' '), '') end as doubts,
    case when standing = 'measured' then mlx_version end as mlx_version,
    case when standing = 'measured' then left(run_id::text, 8) end as run,
    context_tokens,
    round(decode_ceiling_tps::numeric, 2) as ceiling_tps
from placed
order by
    model, precision, model_id,
    array_position(array['measured', 'fits, not measured', 'unknown', 'would not fit'], standing),
    estimate desc nulls last, decode_ceiling_tps desc nulls last, machine
