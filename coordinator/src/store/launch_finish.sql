update fleet.launch
set
    outcome = told.outcome,
    message = told.message,
    finished_at = told.finished_at,
    steady = told.steady,
    warmup_iterations = told.warmup_iterations,
    reasons = string_to_array(told.reasons, ','),
    stderr_tail = told.stderr_tail,
    exit_code = told.exit_code,
    signal = told.signal,
    counted = told.may_count and not exists (
        select
        from fleet.launch as other
        where other.job_id = launch.job_id
            and other.case_key = launch.case_key
            and other.ordinal = launch.ordinal
            and other.counted
    )
from unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::boolean[], $7::integer[],
    $8::text[], $9::text[], $10::integer[], $11::integer[], $12::boolean[]
) as told (
    lease_id, launch_id, outcome, message, finished_at, steady, warmup_iterations, reasons,
    stderr_tail, exit_code, signal, may_count
)
where launch.launch_id = told.launch_id
    and launch.lease_id = told.lease_id
    and launch.outcome = 'running'
