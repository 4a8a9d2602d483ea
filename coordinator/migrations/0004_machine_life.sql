-- What operators say of machines, beside what their agents declare.
alter table fleet.machine
    -- A drained machine gets no new job. NULL: it is not drained.
    add column drained_at timestamptz,
    add column drained_by text not null default '',
    add column drain_reason text not null default '',
    -- NULL: it gets no job until an operator lets it in.
    add column approved_at timestamptz,
    -- They go before labels of the same name that the agent declares.
    add column operator_labels jsonb not null default '{}',
    -- What its agent spoke when it was refused for it. NULL: it is understood.
    add column refused_protocol integer;

update fleet.machine
set approved_at = enrolled_at, drained_at = case when drained then now() end;

alter table fleet.machine drop column drained;
