select
    plan.name,
    run.state,
    (select count(*) from fleet.job where job.run_id = run.run_id) as "jobs!",
    (
        select count(*)
        from fleet.launch
        join fleet.job using (job_id)
        where job.run_id = run.run_id
    ) as "launches!",
    (
        select count(*)
        from fleet.sample
        join fleet.iteration using (iteration_id)
        join fleet.launch using (launch_id)
        join fleet.job using (job_id)
        where job.run_id = run.run_id
    ) as "samples!",
    (
        select count(*)
        from fleet.reading
        join fleet.lease using (lease_id)
        join fleet.job using (job_id)
        where job.run_id = run.run_id
    ) as "readings!"
from fleet.run
join fleet.plan using (plan_id)
where run.run_id = $1
for update of run
