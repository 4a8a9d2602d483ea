with given as (
    select *
    from unnest(
        $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::integer[]
    ) with ordinality as job (
        job_id, lease_id, machine_id, suite, model_source, model_label, dtype, cases, launches_total,
        ordinal
    )
),
job as (
    insert into fleet.job (
        job_id, run_id, machine_id, ordinal, suite, model_source, model_label, dtype, cases,
        launches_total, state, epoch, started_at, ended_at
    )
    select
        job_id, $1, machine_id, (ordinal - 1)::integer, suite, model_source, model_label, dtype,
        cases::jsonb, launches_total, 'succeeded', 1, now(), now()
    from given
)
-- Everything that is stored came under a lease; this one was over as it began.
insert into fleet.lease (lease_id, job_id, machine_id, epoch, state, expires_at, ended_at)
select lease_id, job_id, machine_id, 1, 'released', now(), now()
from given
