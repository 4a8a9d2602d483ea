select
    run.run_id,
    run.name,
    run.label,
    run.state,
    run.submitted_at,
    run.ended_at,
    job.total as "jobs_total!",
    job.succeeded as "jobs_succeeded!",
    job.failed as "jobs_failed!",
    job.skipped as "jobs_skipped!",
    job.launches as "launches_total!",
    done.launches as "launches_done!"
from (
    select run.*, plan.name
    from fleet.run
    join fleet.plan on plan.plan_id = run.plan_id
    where ($1::uuid is null or run.run_id = $1)
        and strpos(lower(plan.name), lower($3)) > 0
        and $4 in ('', run.state)
        and $5 in ('', run.label)
        and ($6::uuid is null or (run.submitted_at, run.run_id) < (
            select submitted_at, run_id from fleet.run where run_id = $6
        ))
    order by run.submitted_at desc, run.run_id desc
    limit $2
) as run
cross join lateral (
    select
        count(*) as total,
        count(*) filter (where state = 'succeeded') as succeeded,
        count(*) filter (where state in ('failed', 'parked', 'cancelled')) as failed,
        count(*) filter (where state = 'skipped') as skipped,
        -- A skipped job has nothing to wait for.
        coalesce(sum(launches_total) filter (where state <> 'skipped'), 0) as launches
    from fleet.job
    where job.run_id = run.run_id
) as job
cross join lateral (
    select count(*) as launches
    from fleet.job
    join fleet.launch on launch.job_id = job.job_id and launch.counted
    where job.run_id = run.run_id
) as done
order by run.submitted_at desc, run.run_id desc
