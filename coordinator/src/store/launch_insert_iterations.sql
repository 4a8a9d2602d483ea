with given as (
    select
        *,
        -- Each iteration's tokens end where it says and begin where the one before ends.
        coalesce(lag(token_end) over (order by place), 0) as token_start
    from unnest(
        $1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::text[], $10::text[], $11::integer[]
    ) with ordinality as iteration (
        lease_id, launch_id, ordinal, phase, mode, started_us, duration_ns, work, reasons,
        token_ids_sha256, token_end, place
    )
)
insert into fleet.iteration (
    launch_id, ordinal, phase, mode, started_us, duration_ns, work, token_ns, reasons,
    token_ids_sha256
)
select
    given.launch_id,
    given.ordinal,
    given.phase,
    given.mode,
    given.started_us,
    given.duration_ns,
    given.work,
    ($12::bigint[])[token_start + 1:token_end],
    string_to_array(given.reasons, ','),
    given.token_ids_sha256
from given
join fleet.launch on launch.launch_id = given.launch_id and launch.lease_id = given.lease_id
order by given.place
returning iteration_id, launch_id, ordinal
