-- A fleet at work: each machine, ten times as many as measured, has a job in a run of its own, like one of the
-- run that `bench.like_run` names, and its sensors have said something for two minutes.
insert into fleet.machine
select (jsonb_populate_record(machine, jsonb_build_object(
    'machine_id', gen_random_uuid(),
    'identity', encode(sha256(convert_to(machine.name || place, 'UTF8')), 'hex'),
    'name', machine.name || '-' || place
))).*
from fleet.machine
cross join generate_series(2, 10) as place;

update fleet.machine set last_seen_at = now() + interval '1 hour';

insert into fleet.run
select (jsonb_populate_record(run, jsonb_build_object(
    'run_id', gen_random_uuid(), 'state', 'active', 'ended_at', null
))).*
from fleet.run
where run_id = current_setting('bench.like_run')::uuid;

insert into fleet.job
select (jsonb_populate_record(job, jsonb_build_object(
    'job_id', gen_random_uuid(),
    'run_id', run.run_id,
    'machine_id', machine.machine_id,
    'ordinal', row_number() over (),
    'state', 'leased',
    'ended_at', null
))).*
from fleet.run
cross join fleet.job
cross join fleet.machine
where
    run.state = 'active'
    and job.job_id = (select job_id from fleet.job where run_id = current_setting('bench.like_run')::uuid limit 1);

insert into fleet.lease (lease_id, job_id, machine_id, epoch, expires_at)
select gen_random_uuid(), job_id, machine_id, 1, now() + interval '1 hour'
from fleet.job
where state = 'leased';

insert into fleet.certificate (fingerprint, machine_id, expires_at)
select machine_id::text, machine_id, now() + interval '1 year' from fleet.machine;

insert into fleet.reading
select machine_id, lease_id, now() - make_interval(secs => back), sensor, random()
from fleet.lease
cross join generate_series(1, 120) as back
cross join unnest(array['sys_power_w', 'gpu_active_ratio', 'gpu_temp_c', 'foreign_cpu_ratio']) as sensor
where lease.state = 'live';

analyze fleet.machine, fleet.run, fleet.job, fleet.lease, fleet.reading;
