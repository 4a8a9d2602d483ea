select
    run.run_id,
    plan.name,
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
    select *
    from fleet.run
    where $1::uuid is null or run_id = $1
    order by submitted_at desc, run_id desc
    limit $2
) as run
join fleet.plan on plan.plan_id = run.plan_id
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
