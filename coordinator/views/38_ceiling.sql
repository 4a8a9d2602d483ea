-- The rates of report.ceiling alone, for what needs nothing that is published beside them.
create view report.roofline as
select
    run_id, label, machine_id, machine, chip,
    environment_ids[1] as environment_id,
    max(estimate) filter (where metric = 'stream_gbps') as stream_gbps,
    max(estimate) filter (where metric = 'gemm_tflops_bf16') as gemm_tflops_bf16,
    max(estimate) filter (where metric = 'gemm_tflops_fp16') as gemm_tflops_fp16,
    max(estimate) filter (where metric = 'gemm_tflops_fp32') as gemm_tflops_fp32,
    bool_or(tainted) as tainted,
    report.distinct_sorted(report.concat_agg(reasons)) as reasons
from report.case_summary
where suite = 'roofline'
    and metric in ('stream_gbps', 'gemm_tflops_bf16', 'gemm_tflops_fp16', 'gemm_tflops_fp32')
    and valid
    -- Of an update in the middle of a case there is no one ceiling.
    and cardinality(environment_ids) = 1
group by run_id, label, machine_id, machine, chip, environment_ids[1];
comment on view report.roofline is
    'One row per run, machine and set of conditions with a valid roofline: the rates that it reached.';
comment on column report.roofline.stream_gbps is 'measured bytes read and written per second, in GB/s; NULL where it was not measured';
comment on column report.roofline.gemm_tflops_bf16 is 'measured rate of a product of matrices in bf16, in 10^12 operations per second';
comment on column report.roofline.gemm_tflops_fp16 is 'the same in f16';
comment on column report.roofline.gemm_tflops_fp32 is 'the same in f32';

-- What a machine reaches at the most under one set of conditions: measured by suite `roofline` in a run,
-- beside what is published for its chip.
create view report.ceiling as
select
    measured.run_id,
    measured.label,
    measured.machine_id,
    measured.machine,
    measured.chip,
    measured.environment_id,
    measured.stream_gbps,
    measured.gemm_tflops_bf16,
    measured.gemm_tflops_fp16,
    measured.gemm_tflops_fp32,
    machine.bandwidth_gbps,
    machine.fp32_tflops,
    measured.stream_gbps / machine.bandwidth_gbps as mbu_spec,
    measured.gemm_tflops_bf16 / machine.fp32_tflops as nax_ratio,
    measured.gemm_tflops_bf16 / machine.fp32_tflops > 1.1 as nax_observed,
    report.nax_expected(environment.os, environment.os_version, environment.mlx_architecture)
        as nax_expected,
    environment.nax_built,
    measured.tainted,
    measured.reasons
from report.roofline as measured
join report.machine using (machine_id)
join fleet.environment using (environment_id);
comment on view report.ceiling is
    'One row per run, machine and set of conditions with a valid roofline: what it reaches at the most.';
comment on column report.ceiling.stream_gbps is 'measured bytes read and written per second, in GB/s; NULL where it was not measured';
comment on column report.ceiling.gemm_tflops_bf16 is 'measured rate of a product of matrices in bf16, in 10^12 operations per second';
comment on column report.ceiling.gemm_tflops_fp16 is 'the same in f16';
comment on column report.ceiling.gemm_tflops_fp32 is 'the same in f32';
comment on column report.ceiling.mbu_spec is 'stream_gbps over the published bandwidth';
comment on column report.ceiling.nax_ratio is 'gemm_tflops_bf16 over fp32_tflops; NULL where no rate of the chip is known';
comment on column report.ceiling.nax_observed is 'nax_ratio is above 1.1: only matrix units are so fast';
comment on column report.ceiling.nax_expected is 'the GPU has matrix units that this system lets MLX use';
comment on column report.ceiling.nax_built is 'the metallib holds their kernels; NULL without a metallib';
