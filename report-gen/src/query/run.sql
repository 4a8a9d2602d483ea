select
    run_id as "run_id!",
    plan as "plan!",
    plan_file as "plan_file!",
    plan_sha256 as "plan_sha256!",
    label as "label!",
    source,
    state as "state!",
    submitted_at as "submitted_at!",
    ended_at,
    duration_s as "duration_s!",
    jobs as "jobs!",
    jobs_succeeded as "jobs_succeeded!",
    jobs_unfinished as "jobs_unfinished!",
    headline as "headline!",
    protocol as "protocol!"
from report.run
where run_id = $1
