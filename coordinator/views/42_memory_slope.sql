-- What one more position takes of memory, by least squares over the lengths of suite `memory`, beside what
-- arithmetic says of its keys and values. Gate G4: further than a tenth apart, one of them is wrong.
create view report.memory_slope as
with place as (
    select
        summary.*,
        tokens,
        -- The cache is allocated in steps of 256 positions.
        ceil(tokens / 256) * 256 as allocated
    from report.case_summary as summary
    cross join lateral (
        select report.case_number(case_key, 'prompt') as tokens
    ) as parameter
    where suite = 'memory' and metric in ('kv_bytes', 'mem_peak_bytes') and tokens is not null
),
fitted as (
    select
        run_id, label, machine_id, machine, chip, model, model_source, model_id, model_digest, dtype,
        quantisation,
        count(distinct tokens) as lengths,
        -- Two lengths make a line whatever they are.
        case when count(distinct allocated) filter (where metric = 'kv_bytes') >= 3
            then regr_slope(estimate, allocated) filter (where metric = 'kv_bytes')
        end as kv_bytes_per_token,
        regr_r2(estimate, allocated) filter (where metric = 'kv_bytes') as kv_r_squared,
        case when count(distinct tokens) filter (where metric = 'mem_peak_bytes') >= 3
            then regr_slope(estimate, tokens) filter (where metric = 'mem_peak_bytes')
        end as peak_bytes_per_token,
        regr_r2(estimate, tokens) filter (where metric = 'mem_peak_bytes') as peak_r_squared,
        bool_and(valid) as valid,
        bool_or(tainted) as tainted,
        report.concat_agg(reasons) as reasons
    from place
    group by
        run_id, label, machine_id, machine, chip, model, model_source, model_id, model_digest, dtype,
        quantisation
)
select
    run_id, machine, chip, model,
    kv_bytes_per_token,
    theory.bytes as kv_theory_bytes_per_token,
    kv_bytes_per_token / theory.bytes as kv_ratio,
    case when kv_bytes_per_token is not null then kv_r_squared end as kv_r_squared,
    peak_bytes_per_token,
    case when peak_bytes_per_token is not null then peak_r_squared end as peak_r_squared,
    lengths,
    valid and not gate.failed as valid,
    tainted,
    report.distinct_sorted(case when gate.failed then reasons || '{g4}' else reasons end) as reasons,
    dtype, quantisation, model_source, model_id, model_digest, machine_id, label
from fitted
left join (
    select model_id, kv_bytes_per_token::double precision as bytes from fleet.model
) as theory using (model_id)
cross join lateral (
    select coalesce(abs(kv_bytes_per_token / theory.bytes - 1) > 0.1, false) as failed
) as gate
where num_nonnulls(kv_bytes_per_token, peak_bytes_per_token) > 0;
comment on view report.memory_slope is
    'One row per machine and model of a run with three prompt lengths or more in suite memory: bytes for one more position.';
comment on column report.memory_slope.kv_bytes_per_token is
    'slope of kv_bytes over the positions that are allocated; NULL with fewer than three different numbers of them';
comment on column report.memory_slope.kv_theory_bytes_per_token is
    '2 · layers · key heads · head width · bytes per value: what its keys and values must take';
comment on column report.memory_slope.kv_ratio is 'kv_bytes_per_token over kv_theory_bytes_per_token; outside 0.9 to 1.1 it is invalid (g4)';
comment on column report.memory_slope.kv_r_squared is 'share of the cache''s variance that its line explains';
comment on column report.memory_slope.peak_bytes_per_token is
    'slope of mem_peak_bytes over the prompt''s length, activations included; NULL with fewer than three lengths';
comment on column report.memory_slope.peak_r_squared is 'share of the peak''s variance that its line explains';
comment on column report.memory_slope.lengths is 'prompt lengths that were measured';
comment on column report.memory_slope.valid is 'no launch behind it is invalid, and the cache grows as arithmetic says';
