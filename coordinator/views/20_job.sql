-- One row per suite, model and machine of a run: what was leased as one piece, and how it ended.
create view report.job as
select
    job.job_id,
    job.run_id,
    run.label,
    job.ordinal as job,
    job.machine_id,
    machine.name as machine,
    machine.chip,
    job.suite,
    job.model_label as model,
    job.model_source,
    job.dtype,
    jsonb_array_length(job.cases) as cases,
    job.launches_total,
    coalesce(launch.counted, 0) as launches_counted,
    coalesce(launch.ended_badly, 0) as launches_failed,
    job.state,
    job.reason,
    job.failures,
    job.epoch,
    job.started_at,
    job.ended_at,
    extract(epoch from coalesce(job.ended_at, now()) - job.started_at)::double precision
        as duration_s
from fleet.job
join fleet.run using (run_id)
join fleet.machine on machine.machine_id = job.machine_id
left join lateral (
    select
        count(*) filter (where counted) as counted,
        count(*) filter (where outcome not in ('running', 'succeeded')) as ended_badly
    from fleet.launch
    where launch.job_id = job.job_id
) as launch on true;
comment on view report.job is 'One row per suite, model and machine of a run.';
comment on column report.job.job is 'place in the run''s order';
comment on column report.job.model is '(machine) for a suite about the machine itself';
comment on column report.job.dtype is 'the precision that the plan asks for; NULL means as stored';
comment on column report.job.cases is 'points of the suite''s parameters';
comment on column report.job.state is 'queued, leased, succeeded, failed, skipped, parked or cancelled';
comment on column report.job.failures is 'failed launches and lost leases so far; three park the job';
comment on column report.job.epoch is 'how often the job was granted';
comment on column report.job.duration_s is 'from its first grant to its end, or until now while it runs';
