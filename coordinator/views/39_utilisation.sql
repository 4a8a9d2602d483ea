-- How much of a machine a rate takes: bytes and operations in a second by the arithmetic of fleet.work,
-- and their share of the ceilings that the same run measured on the same machine under the same
-- conditions, and of those that are published. Shares stand beside the rate, never in its place.
create view report.utilisation as
select
    run_id, machine, chip, model, suite, case_key, metric, unit,
    estimate,
    ci_low,
    ci_high,
    gbps,
    tflops,
    gbps / stream_gbps as mbu_meas,
    gbps / bandwidth_gbps as mbu_spec,
    tflops / gemm_tflops as mfu_meas,
    tflops / peak_tflops as mfu_spec,
    flops_per_unit / bytes_per_unit as arith_intensity,
    bytes_per_unit,
    flops_per_unit,
    stream_gbps,
    gemm_tflops,
    bandwidth_gbps,
    peak_tflops,
    launches,
    valid,
    tainted,
    reasons,
    dtype,
    quantisation,
    model_source,
    model_id,
    model_digest,
    machine_id,
    label
from (
    select
        summary.run_id, summary.machine, summary.chip, summary.model, summary.suite,
        summary.case_key, summary.metric, summary.unit, summary.estimate, summary.ci_low,
        summary.ci_high, summary.launches, summary.valid, summary.dtype, summary.quantisation,
        summary.model_source, summary.model_id, summary.model_digest, summary.machine_id,
        summary.label,
        work.bytes as bytes_per_unit,
        work.flops as flops_per_unit,
        work.bytes * summary.estimate / 1e9 as gbps,
        work.flops * summary.estimate / 1e12 as tflops,
        ceiling.stream_gbps,
        case summary.dtype
            when 'bf16' then ceiling.gemm_tflops_bf16
            when 'f16' then ceiling.gemm_tflops_fp16
            when 'f32' then ceiling.gemm_tflops_fp32
        end as gemm_tflops,
        machine.bandwidth_gbps,
        case
            -- Without them MLX computes with the processors of general use, whatever the chip has.
            when environment.nax_built
                and report.nax_expected(
                    environment.os, environment.os_version, environment.mlx_architecture
                )
                then machine.peak_tflops
            else machine.fp32_tflops
        end as peak_tflops,
        summary.tainted or coalesce(ceiling.tainted, false) as tainted,
        report.distinct_sorted(summary.reasons || coalesce(ceiling.reasons, '{}')) as reasons
    from report.case_summary as summary
    join fleet.work
        on work.model_id = summary.model_id
        and work.suite = summary.suite
        and work.case_key = summary.case_key
        and work.metric = summary.metric
    join report.machine on machine.machine_id = summary.machine_id
    left join fleet.environment
        on cardinality(summary.environment_ids) = 1
        and environment.environment_id = summary.environment_ids[1]
    left join report.roofline as ceiling
        on ceiling.run_id = summary.run_id
        and ceiling.machine_id = summary.machine_id
        and ceiling.environment_id = environment.environment_id
    -- Known before anything is summarised, where the join alone would sift the summaries.
    where summary.metric = any(array(select distinct metric from fleet.work))
) as used;
comment on view report.utilisation is
    'One row per case summary whose work is known: what it makes the machine do, and the shares of its ceilings.';
comment on column report.utilisation.estimate is 'the rate itself, in unit';
comment on column report.utilisation.ci_low is 'lower end of the rate''s 95 % interval';
comment on column report.utilisation.ci_high is 'upper end of the rate''s 95 % interval';
comment on column report.utilisation.gbps is 'bytes of weights and cache that it reads per second, in GB/s; NULL where most traffic is activations';
comment on column report.utilisation.tflops is 'operations that it computes per second, in 10^12; those of attention are not counted';
comment on column report.utilisation.mbu_meas is 'gbps over stream_gbps; NULL where this run measured no such ceiling under these conditions';
comment on column report.utilisation.mbu_spec is 'gbps over bandwidth_gbps; NULL where nothing is published';
comment on column report.utilisation.mfu_meas is 'tflops over gemm_tflops; NULL where this run measured no such ceiling under these conditions';
comment on column report.utilisation.mfu_spec is 'tflops over peak_tflops; NULL where nothing is published';
comment on column report.utilisation.arith_intensity is 'operations for each byte that is read; NULL where either is not known';
comment on column report.utilisation.bytes_per_unit is 'bytes for one unit of the rate: the weights that a step reads, and the keys and values';
comment on column report.utilisation.flops_per_unit is 'operations for one unit of the rate: two for each parameter that a token is multiplied with';
comment on column report.utilisation.stream_gbps is 'the measured bandwidth, in GB/s';
comment on column report.utilisation.gemm_tflops is 'the measured rate of a product of matrices in this dtype, in 10^12 operations per second';
comment on column report.utilisation.peak_tflops is 'the published rate, of matrix units where MLX uses them, else of f32, in 10^12 operations per second';
comment on column report.utilisation.tainted is 'the rate or the ceiling was measured under doubtful conditions';
