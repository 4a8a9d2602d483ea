-- "Which Mac for this model?": what fits, and how fast each machine decoded when it was last measured
-- validly. The runs behind the rates may differ in software, so the rows rank and do not compare;
-- report.pair compares.
create view report.which_machine as
with measured as (
    select distinct on (machine_id, model_id, case_key) *
    from report.case_summary
    where suite = 'decode'
        and metric in ('decode_tps', 'decode_tps_at_depth')
        and label = 'measured'
        and valid
    order by machine_id, model_id, case_key, started_at desc, run_id
),
asked as (
    -- Each case that some machine has, for every machine.
    select distinct model_id, case_key from measured
)
select
    fit.model,
    fit.dtype,
    fit.quantisation,
    fit.machine,
    fit.chip,
    fit.gpu_cores,
    fit.memory_bytes,
    fit.context_tokens,
    case
        when measured.run_id is not null then 'measured'
        when fit.context_tokens is null then 'unknown'
        when fit.context_tokens > 0 then 'fits, not measured'
        else 'would not fit'
    end as standing,
    asked.case_key,
    report.case_number(asked.case_key, 'depth')::bigint
        + report.case_number(asked.case_key, 'new')::bigint as case_tokens,
    measured.estimate,
    measured.ci_low,
    measured.ci_high,
    measured.unit,
    measured.launches,
    fit.decode_ceiling_tps,
    fit.bandwidth_gbps,
    fit.limit_bytes,
    measured.tainted,
    measured.reasons,
    measured.started_at,
    measured.run_id,
    environment.mlx_version,
    fit.machine_id,
    fit.model_id,
    fit.model_source,
    fit.model_digest
from report.model_fit as fit
left join asked using (model_id)
left join measured
    on measured.machine_id = fit.machine_id
    and measured.model_id = fit.model_id
    and measured.case_key = asked.case_key
left join fleet.environment
    on cardinality(measured.environment_ids) = 1
    and environment.environment_id = measured.environment_ids[1];
comment on view report.which_machine is
    'One row per model, machine and case of decoding: whether it fits, and the newest valid rate with its interval.';
comment on column report.which_machine.gpu_cores is 'GPU cores; NULL where the system does not say';
comment on column report.which_machine.memory_bytes is 'main memory of the machine';
comment on column report.which_machine.context_tokens is 'the longest context that fits beside the weights, in tokens; 0 where the weights alone do not fit; NULL where the machine''s memory is not known';
comment on column report.which_machine.standing is 'measured; fits, not measured; would not fit; or unknown';
comment on column report.which_machine.case_key is 'the case of decoding; NULL where no machine has decoded with the model';
comment on column report.which_machine.case_tokens is 'context at the end of the case, in tokens';
comment on column report.which_machine.estimate is 'tokens per second, measured; NULL where this machine has not';
comment on column report.which_machine.ci_low is 'lower end of the 95 % interval; NULL with fewer than two launches';
comment on column report.which_machine.ci_high is 'upper end of the 95 % interval; NULL with fewer than two launches';
comment on column report.which_machine.decode_ceiling_tps is 'tokens per second that the published bandwidth allows at the most, at context 0: a ceiling and no prediction; NULL where nothing is published';
comment on column report.which_machine.limit_bytes is 'the most bytes that a model with its cache may take there';
comment on column report.which_machine.mlx_version is 'version of MLX behind the rate; NULL where it changed meanwhile';
comment on column report.which_machine.run_id is 'the run that the rate is of';
