-- What fits where, by the arithmetic of plans: weights, and keys and values of the context, within the
-- machine's limit for models. MLX needs some more while it computes, which the limit leaves room for.
-- Machines that are simulated or stand for somebody else's are nobody's to buy, so they are left out, and
-- so are the weights that only simulated machines said they loaded.
create view report.model_fit as
select
    model.label as model,
    model.dtype,
    model.quantisation,
    machine.machine,
    machine.chip,
    machine.gpu_cores,
    machine.memory_bytes,
    limits.limit_bytes,
    model.weight_bytes,
    model.kv_bytes_per_token,
    case
        when limits.limit_bytes < model.weight_bytes then 0
        else (limits.limit_bytes - model.weight_bytes) / nullif(model.kv_bytes_per_token, 0)
    end as context_tokens,
    machine.bandwidth_gbps,
    machine.bandwidth_gbps * 1e9 / nullif(model.decode_bytes, 0) as decode_ceiling_tps,
    machine.machine_id,
    model.model_id,
    model.source as model_source,
    model.digest as model_digest
from fleet.model
cross join report.machine
cross join lateral (
    select report.model_limit_bytes(machine.os, machine.memory_bytes, machine.wired_limit_bytes)
        as limit_bytes
) as limits
where not machine.simulated and not machine.imported and not starts_with(model.source, 'simulated:');
comment on view report.model_fit is
    'One row per model that was ever loaded and machine of the fleet: whether it fits, and with how long a context. By arithmetic, not by trial.';
comment on column report.model_fit.gpu_cores is 'GPU cores; NULL where the system does not say';
comment on column report.model_fit.memory_bytes is 'main memory of the machine';
comment on column report.model_fit.limit_bytes is 'the most bytes that a model with its cache may take there';
comment on column report.model_fit.weight_bytes is 'bytes of the weights in memory';
comment on column report.model_fit.kv_bytes_per_token is 'bytes that each position adds to the key and value cache';
comment on column report.model_fit.context_tokens is 'the longest context that fits beside the weights, in tokens, whatever the model was made for; 0 where the weights alone do not fit';
comment on column report.model_fit.decode_ceiling_tps is 'decoded tokens per second that the published bandwidth allows at the most, at context 0: a ceiling and no prediction; NULL where nothing is published';
