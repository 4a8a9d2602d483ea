insert into fleet.job (
    job_id, run_id, machine_id, ordinal, suite, model_source, model_label, dtype, cases,
    launches_total, state, reason, ended_at, priority
)
select
    job_id,
    $1,
    machine_id,
    (ordinal - 1)::integer,
    suite,
    model_source,
    model_label,
    dtype,
    cases::jsonb,
    launches_total,
    case when skipped is null then 'queued' else 'skipped' end,
    coalesce(skipped, ''),
    case when skipped is not null then now() end,
    $11
from unnest(
    $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::integer[], $10::text[]
) with ordinality as job (
    job_id, machine_id, suite, model_source, model_label, dtype, cases, launches_total, skipped,
    ordinal
)
