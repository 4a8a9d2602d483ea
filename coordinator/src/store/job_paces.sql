select
    wanted.kind as "kind!",
    recent.chip as "chip!",
    recent.gpu_cores,
    recent.simulated as "simulated!",
    percentile_cont(0.5) within group (order by recent.launch_s) as "launch_s!"
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as wanted (suite, model_label, dtype, kind)
cross join lateral (
    select
        machine.chip,
        machine.gpu_cores,
        machine.simulated,
        worked.seconds / job.launches_total as launch_s
    from fleet.job
    join fleet.machine on machine.machine_id = job.machine_id
    -- What somebody else measured took no time here.
    join fleet.run on run.run_id = job.run_id and run.label <> 'imported'
    cross join lateral (
        -- Not from its first beginning to its end: it may have waited for hours between two leases.
        select sum(extract(epoch from ended_at - granted_at))::double precision as seconds
        from fleet.lease
        where lease.job_id = job.job_id
    ) as worked
    where
        job.state = 'succeeded'
        and job.suite = wanted.suite
        and job.model_label = wanted.model_label
        and coalesce(job.dtype, '') = wanted.dtype
        and worked.seconds is not null
        and job.launches_total > 0
    order by job.ended_at desc
    limit $4::bigint
) as recent
group by wanted.kind, recent.chip, recent.gpu_cores, recent.simulated
