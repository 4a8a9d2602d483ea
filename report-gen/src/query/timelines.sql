-- The launches that say most of heat: flagged, minutes long, or falling most; and what the sensors read
-- beside them. A long launch is told in steps of its length over 120.
with chosen as (
    select
        heat.launch_id, heat.trend_pct, heat.throttled, heat.reasons, heat.cooldown_s,
        row_number() over (
            order by heat.throttled desc, heat.suite = 'sustained' desc, heat.trend_pct nulls last,
                heat.started_at
        ) as place
    from report.heat
    join report.launch using (launch_id)
    -- Asked launch by launch: a run's readings are many.
    cross join lateral (
        select true
        from report.reading
        where reading.run_id = $1 and reading.lease_id = launch.lease_id and reading.sensor = any($3)
        limit 1
    ) as read
    where heat.run_id = $1 and launch.run_id = $1 and heat.counted
    order by place
    limit $2
)
select
    launch.machine as "machine!",
    launch.suite as "suite!",
    launch.model as "model!",
    launch.dtype,
    launch.quantisation,
    launch.model_source as "model_source?",
    launch.model_digest,
    launch.case_key as "case_key!",
    launch.launch as "launch!",
    chosen.place as "place!",
    chosen.throttled as "throttled!",
    chosen.trend_pct,
    chosen.cooldown_s,
    chosen.reasons as "reasons!",
    track.sensor as "sensor!",
    track.unit as "unit!",
    track.at_s as "at_s!",
    track.value as "value!"
from chosen
join report.launch using (launch_id)
cross join lateral (
    select
        reading.sensor,
        reading.unit,
        min(extract(epoch from reading.at - launch.started_at))::double precision as at_s,
        avg(reading.value) as value
    from report.reading
    where reading.run_id = $1
        and reading.lease_id = launch.lease_id
        and reading.at between launch.started_at and launch.finished_at
        and reading.sensor = any($3)
    group by
        reading.sensor,
        reading.unit,
        floor(
            extract(epoch from reading.at - launch.started_at) / greatest(1, launch.duration_s / 120)
        )
) as track
order by chosen.place, track.sensor, track.at_s
