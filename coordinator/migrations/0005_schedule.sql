-- Jobs of a plan with a higher priority are granted first.
alter table fleet.job add column priority integer not null default 0;
drop index fleet.job_queue;
create index job_queue on fleet.job (machine_id, priority desc, run_id, ordinal)
where state = 'queued';

-- Plans that are submitted again and again; of a plan's name one at a time.
create table fleet.schedule (
    schedule_id uuid primary key,
    plan_id uuid not null references fleet.plan,
    name text not null,
    file_name text not null,
    every_seconds bigint not null check (every_seconds > 0),
    next_at timestamptz not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    -- NULL: it goes on.
    ended_at timestamptz,
    -- Why there was no run the last time. Empty: there was one.
    problem text not null default ''
);

create unique index one_schedule_per_name on fleet.schedule (name) where ended_at is null;
create index schedule_due on fleet.schedule (next_at) where ended_at is null;

alter table fleet.run add column schedule_id uuid references fleet.schedule;
create index run_of_schedule on fleet.run (schedule_id) where schedule_id is not null;
