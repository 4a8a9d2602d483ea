-- Between a grant and its end, in the order of events, there is no other grant to the machine. Ids of events
-- grow in the order of their making: who grants has seen the end before.
with word as (
    select
        event_id, kind, lease_id, machine_id,
        lag(kind) over of_machine as before,
        lag(lease_id) over of_machine as lease_before
    from fleet.event
    where kind in ('job_granted', 'lease_released', 'lease_expired', 'lease_cancelled')
    window of_machine as (partition by machine_id order by event_id)
)
select
    count(*) filter (where kind = 'job_granted') as checked,
    coalesce(array_agg(format(
        'machine %s: event %s, %s of lease %s, follows %s of lease %s',
        machine_id, event_id, kind, lease_id, coalesce(before, 'nothing'), lease_before
    )) filter (where
        kind = 'job_granted' and before = 'job_granted'
        or kind <> 'job_granted' and (
            before is distinct from 'job_granted' or lease_before is distinct from lease_id
        )
    ), '{}') as broken
from word
where $1::uuid is not null
