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
        region.machine_id,
        job.suite,
        found.reason,
        count(distinct launch.launch_id) as launches,
        sum(found.iterations)::bigint as iterations
    from fleet.launch_region as region
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    cross join lateral (
        -- What is doubtful about a launch is about each of its iterations.
        select distinct unnest(launch.reasons) as reason, region.iterations
        union all
        select doubt, count(*)
        from unnest(region.doubts) as doubt
        where doubt <> all (launch.reasons)
        group by doubt
    ) as found
    where launch.counted
        -- Most are in no doubt.
        and (launch.reasons <> '{}' or region.doubts <> '{}')
    group by job.run_id, region.machine_id, job.suite, found.reason
) as doubt
join (
    select
        job.run_id,
        region.machine_id,
        job.suite,
        count(distinct launch.launch_id) as launches,
        sum(region.iterations)::bigint as iterations
    from fleet.launch_region as region
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    where launch.counted
    group by job.run_id, region.machine_id, job.suite
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
