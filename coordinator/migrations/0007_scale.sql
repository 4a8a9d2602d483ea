-- What made a submission and the end of launches grow with the fleet.

-- Machines that a run's plan does not mean, together where the reason is the same. A reason may be longer
-- than a key may be.
alter table fleet.exclusion rename to exclusion_of_one;
create table fleet.exclusion (
    run_id uuid not null references fleet.run,
    reason text not null,
    machine_ids uuid[] not null
);
create index exclusion_of_run on fleet.exclusion (run_id);
insert into fleet.exclusion (run_id, reason, machine_ids)
select run_id, reason, array_agg(machine_id order by machine_id)
from fleet.exclusion_of_one
group by run_id, reason;
drop table fleet.exclusion_of_one;

-- Launches that begin to count in one statement are summarised together.
create function fleet.summarise_counted_launches() returns trigger
language plpgsql
as $$
declare
    launch_ids uuid[] := array(
        select changed.launch_id
        from changed
        join before using (launch_id)
        where changed.counted
            and (before.counted, before.model_id, before.environment_id, before.reasons)
                is distinct from
                (true, changed.model_id, changed.environment_id, changed.reasons)
    );
begin
    if cardinality(launch_ids) > 0 then
        perform fleet.summarise_launches(launch_ids);
    end if;
    return null;
end
$$;

drop trigger a_launch_that_counts_is_summarised on fleet.launch;
create trigger a_launch_that_counts_is_summarised
after update on fleet.launch
referencing old table as before new table as changed
for each statement
execute function fleet.summarise_counted_launches();
drop function fleet.summarise_counted_launch();

-- Their plans are kept by each connection, and those that were made while tables were all but empty read
-- them from end to end for ever after.
alter function fleet.summarise_launches(uuid[]) set enable_seqscan = off;
alter function fleet.summarise_power_beside_readings() set enable_seqscan = off;
