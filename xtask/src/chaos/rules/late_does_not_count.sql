-- Iterations of launches that do not count are kept, and are in no summary. Checked are those that came
-- after the end of their lease.
with evidence as (
    select launch_id, lease_id
    from fleet.launch
    join fleet.job using (job_id)
    where job.run_id = $1 and not counted
),
late as (
    select launch_id
    from evidence
    join fleet.lease using (lease_id)
    where lease.state in ('expired', 'cancelled')
        and exists (
            select from fleet.batch
            where batch.lease_id = lease.lease_id and batch.received_at > lease.ended_at
        )
),
summary as (
    select job_id, case_key, count(*) filter (where counted) as counted
    from fleet.launch
    join fleet.job using (job_id)
    where job.run_id = $1
    group by job_id, case_key
),
told as (
    select format('launch %s does not count and is in fleet.launch_metric', launch_id) as wrong
    from evidence
    where exists (select from fleet.launch_metric where launch_metric.launch_id = evidence.launch_id)
    union all
    select format('%s of job %s: %s launches count, the summary of %s has %s',
        case_key, job_id, counted, case_summary.metric, case_summary.launches)
    from summary
    join fleet.job using (job_id)
    join report.case_summary using (run_id, machine_id, suite, case_key)
    where case_summary.model_source is not distinct from job.model_source
        and case_summary.launches > counted
)
select
    (select count(*) from fleet.iteration join late using (launch_id)) as checked,
    coalesce(array_agg(wrong), '{}') as broken
from told
