select
    iteration.iteration_id,
    iteration.launch_id::text,
    launch.counted,
    iteration.ordinal,
    iteration.phase,
    iteration.mode,
    iteration.started_us,
    iteration.duration_ns,
    iteration.work,
    iteration.token_ns,
    iteration.token_ids_sha256,
    array(
        select metric from fleet.sample
        where sample.iteration_id = iteration.iteration_id order by metric
    ) as metrics,
    array(
        select value from fleet.sample
        where sample.iteration_id = iteration.iteration_id order by metric
    ) as sample_values
from fleet.iteration
join fleet.launch using (launch_id)
join fleet.job using (job_id)
where job.run_id = $1
