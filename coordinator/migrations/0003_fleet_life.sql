-- Who asked for what happened: an operator's token. Empty: nobody did.
alter table fleet.event add column actor text not null default '';

-- What happened to a job or a lease names the run too, by which the story of a run is found and goes
-- with it; job and lease are then the run's, and need no key of their own.
update fleet.event set run_id = job.run_id
from fleet.job
where job.job_id = event.job_id and event.run_id is null;

alter table fleet.event
    drop constraint event_job_id_fkey,
    drop constraint event_lease_id_fkey,
    add constraint an_event_of_a_job_names_its_run
        check (run_id is not null or (job_id is null and lease_id is null));
