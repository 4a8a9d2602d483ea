-- Who ran what and who did not, and why: no machine leaves a run silently.
create view report.coverage as
select
    job.run_id,
    job.machine_id,
    job.machine,
    job.chip,
    job.suite,
    job.model,
    job.dtype,
    case when job.state in ('queued', 'leased') then 'unfinished' else job.state end as state,
    job.reason,
    job.cases,
    job.launches_total,
    job.launches_counted,
    job.launches_failed,
    job.job_id
from report.job
union all
select
    exclusion.run_id,
    machine.machine_id,
    machine.name,
    machine.chip,
    null,
    null,
    null,
    'excluded',
    exclusion.reason,
    0,
    0,
    0,
    0,
    null
from fleet.exclusion
cross join lateral unnest(exclusion.machine_ids) as left_out (machine_id)
join fleet.machine using (machine_id);
comment on view report.coverage is
    'One row per job of a run, and one per machine that the plan left out.';
comment on column report.coverage.suite is 'NULL for a machine that the plan left out';
comment on column report.coverage.model is 'NULL for a machine that the plan left out';
comment on column report.coverage.dtype is 'the precision that the plan asks for; NULL means as stored';
comment on column report.coverage.state is 'succeeded, failed, skipped, parked, cancelled, unfinished or excluded';
comment on column report.coverage.cases is 'points of the suite''s parameters';
comment on column report.coverage.job_id is 'NULL for a machine that the plan left out';
