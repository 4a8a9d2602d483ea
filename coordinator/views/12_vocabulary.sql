-- What the words in the other views mean: metrics with unit and direction, doubts, models, events.
create view report.metric as
select metric, unit, direction, description from fleet.metric;
comment on view report.metric is 'What can be measured: one row per metric.';

create view report.reason as
select reason, severity, description from fleet.reason;
comment on view report.reason is 'Why a number may not be what it seems: one row per reason code.';
comment on column report.reason.reason is 'the code, as it stands in the arrays called reasons';

-- The severities of doubts, as arrays: an array overlap costs no join per sample. A function runs with
-- its caller's rights even inside a view, so it reads the view. A view reads with
-- its owner's rights, a function with its caller's, who has none on schema fleet: hence the definer.
create function report.invalid_reasons() returns text[]
language sql stable parallel safe security definer set search_path = ''
return (select array_agg(reason order by reason) from report.reason where severity = 'invalid');
comment on function report.invalid_reasons() is
    'Doubts that make a number mean something else than its name says.';

create function report.taint_reasons() returns text[]
language sql stable parallel safe security definer set search_path = ''
return (select array_agg(reason order by reason) from report.reason where severity = 'tainted');
comment on function report.taint_reasons() is
    'Doubts about the conditions under which a number was measured.';

create view report.model as
select
    model_id,
    label as model,
    source as model_source,
    digest as model_digest,
    model_type,
    dtype,
    quantisation,
    parameters,
    weight_bytes,
    decode_bytes,
    kv_bytes_per_token,
    synthetic,
    config
from fleet.model;
comment on view report.model is 'One row per distinct weights in one precision; identity is content.';
comment on column report.model.model_type is 'the architecture''s name in config.json';
comment on column report.model.parameters is 'number of weights';
comment on column report.model.weight_bytes is 'bytes of the weights in memory';
comment on column report.model.decode_bytes is 'bytes that one decoded token reads at context 0';
comment on column report.model.kv_bytes_per_token is 'bytes that each position adds to the key and value cache';
comment on column report.model.synthetic is 'seeded random weights: speed is real, quality is not';
comment on column report.model.config is 'config.json as it was read';

create view report.event as
select
    event.event_id,
    event.at,
    event.kind,
    event.run_id,
    event.job_id,
    machine.name as machine,
    event.lease_id,
    event.detail,
    event.actor
from fleet.event
left join fleet.machine using (machine_id);
comment on view report.event is 'What happened, for audit: one row per change of a run, job or lease.';
comment on column report.event.kind is 'what changed';
comment on column report.event.detail is 'the change in words';
comment on column report.event.actor is 'the operator''s token, or the schedule, that asked for it; empty where nobody did';
