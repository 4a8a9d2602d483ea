-- Of each machine that holds a lease, its newest readings, oldest first, each the mean of several. Counted
-- from the newest and not from now, since its clock may be another; those of the job before belong to it.
select lease.machine_id, wanted.sensor as "sensor!", line.means as "means!"
from fleet.lease
cross join unnest($1::text[]) as wanted (sensor)
cross join lateral (
    select array_agg(stretch.mean order by stretch.back desc) as means
    from (
        select newest.back / $3::bigint as back, avg(newest.value) as mean
        from (
            select reading.value, row_number() over (order by reading.at desc) - 1 as back
            from fleet.reading
            where
                reading.machine_id = lease.machine_id
                and reading.sensor = wanted.sensor
                and reading.at > lease.granted_at - interval '5 minutes'
            order by reading.at desc
            limit $2::bigint
        ) as newest
        group by newest.back / $3::bigint
    ) as stretch
) as line
where lease.state = 'live' and line.means is not null
