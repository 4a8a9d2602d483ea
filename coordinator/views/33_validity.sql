-- Which doubts were raised, where and how often: the honest side of every table.
create view report.validity as
select
    doubt.run_id,
    doubt.machine_id,
    machine.name as machine,
    machine.chip,
    doubt.suite,
    doubt.reason,
    reason.severity,
    reason.description,
    doubt.launches,
    doubt.iterations,
    total.launches as of_launches,
    total.iterations as of_iterations
from (
    select
        job.run_id,
        lease.machine_id,
        job.suite,
        found.reason,
        count(distinct launch.launch_id) as launches,
        count(*) as iterations
    from fleet.iteration
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    join fleet.lease on lease.lease_id = launch.lease_id
    cross join lateral (
        select distinct unnest(launch.reasons || iteration.reasons) as reason
    ) as found
    where launch.counted
        and iteration.phase = 'measured'
        -- Most are in no doubt, and to find that in their arrays one by one takes most of the time.
        and (launch.reasons <> '{}' or iteration.reasons <> '{}')
    group by job.run_id, lease.machine_id, job.suite, found.reason
) as doubt
join (
    select
        job.run_id,
        lease.machine_id,
        job.suite,
        count(distinct launch.launch_id) as launches,
        count(*) as iterations
    from fleet.iteration
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    join fleet.lease on lease.lease_id = launch.lease_id
    where launch.counted and iteration.phase = 'measured'
    group by job.run_id, lease.machine_id, job.suite
) as total using (run_id, machine_id, suite)
join fleet.machine using (machine_id)
left join fleet.reason using (reason);
comment on view report.validity is
    'One row per run, machine, suite and reason that was raised there; no row means no doubt.';
comment on column report.validity.reason is 'the reason code';
comment on column report.validity.launches is 'counted launches with this doubt';
comment on column report.validity.iterations is 'measured iterations with this doubt';
comment on column report.validity.of_launches is 'counted launches of the machine and suite in the run';
comment on column report.validity.of_iterations is 'measured iterations of the machine and suite in the run';
