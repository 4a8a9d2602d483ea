-- One row per submission of a plan, with how far it is: where every question begins.
create view report.run as
select
    run.run_id,
    plan.name as plan,
    run.label,
    run.state,
    run.submitted_at,
    run.ended_at,
    extract(epoch from coalesce(run.ended_at, now()) - run.submitted_at)::double precision
        as duration_s,
    coalesce(job.total, 0) as jobs,
    coalesce(job.succeeded, 0) as jobs_succeeded,
    coalesce(job.unfinished, 0) as jobs_unfinished,
    coalesce(job.total - job.succeeded - job.unfinished, 0) as jobs_not_measured,
    coalesce(job.machines, 0) as machines,
    run.headline,
    run.protocol,
    run.file_name as plan_file,
    plan.sha256 as plan_sha256,
    plan.toml as plan_toml,
    run.source
from fleet.run
join fleet.plan using (plan_id)
left join lateral (
    select
        count(*) as total,
        count(*) filter (where state = 'succeeded') as succeeded,
        count(*) filter (where state in ('queued', 'leased')) as unfinished,
        count(distinct machine_id) as machines
    from fleet.job
    where job.run_id = run.run_id
) as job on true;
comment on view report.run is 'One row per submission of a plan.';
comment on column report.run.state is 'active, succeeded (every job did), incomplete or cancelled';
comment on column report.run.duration_s is 'from submission to the end, or until now while it is active';
comment on column report.run.jobs_not_measured is 'jobs that failed, were skipped, parked or cancelled; report.coverage says why';
comment on column report.run.machines is 'machines that have a job in this run';
comment on column report.run.headline is 'metrics that the plan puts first';
comment on column report.run.protocol is 'the plan''s rules: launches, iterations, warm-up, limits';
