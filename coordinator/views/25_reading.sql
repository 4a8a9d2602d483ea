-- The machine beside the measurement: sensors at 1 Hz. What cannot be read has no row, never a 0.
create view report.reading as
select
    job.run_id,
    reading.machine_id,
    machine.name as machine,
    machine.chip,
    job.suite,
    job.model_label as model,
    lease.job_id,
    reading.lease_id,
    reading.at,
    reading.sensor,
    report.sensor_unit(reading.sensor) as unit,
    reading.value
from fleet.reading
join fleet.lease on lease.lease_id = reading.lease_id
join fleet.job using (job_id)
join fleet.machine on machine.machine_id = reading.machine_id;
comment on view report.reading is 'One row per sensor value of a machine while it held a lease.';
comment on column report.reading.sensor is 'what was read; the last word is the unit';
comment on column report.reading.value is 'the value, in unit';
