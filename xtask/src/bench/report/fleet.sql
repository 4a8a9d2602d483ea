-- A simulated fleet of the size that bench.machines and bench.runs say, some 10,000 samples for each
-- machine and run, as if agents had streamed it: keys in the order of time, sensors beside each launch,
-- doubts here and there. A rate is what the chip's bandwidth gives for the bytes that a token reads.
--
-- Its machines are named for what they are. Their rows pass for measured all the same, or views that leave
-- the simulated out would have nothing to do; the database is gone with the benchmark.
--
-- Loaded by the owner of the tables: foreign keys hold by how it is made and are not asked row by row.
set session_replication_role = replica;
select setseed(0.42);

-- As coordinators and agents make them: the time first.
create function pg_temp.id(at timestamptz, what text) returns uuid
language sql immutable
return overlay(
    md5(what) placing lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' from 1 for 13
)::uuid;

-- A factor around 1, normal on logs.
create function pg_temp.noise(sd double precision) returns double precision
language sql volatile
return exp(sd * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()));

create temp table model_plan (place, label, source, model_type, quantisation, parameters, weight_bytes, kv_bytes)
as values
    (1, 'tinyllama-1.1b', 'synthetic:tinyllama-1.1b', 'llama', 'none', 1100048384, 2200096768, 22528),
    (2, 'tinyllama-1.1b-8bit', '/models/tinyllama-1.1b-8bit', 'llama', 'affine 8-bit g64', 1100048384, 1168834944, 22528),
    (3, 'tinyllama-1.1b-4bit', '/models/tinyllama-1.1b-4bit', 'llama', 'affine 4-bit g64', 1100048384, 618834944, 22528),
    (4, 'qwen3-0.6b', 'synthetic:qwen3-0.6b', 'qwen3', 'none', 596049920, 1192099840, 114688);

-- What a launch of a case measures: `per` says what a value goes by.
create temp table case_plan (suite, case_key, mode, metric, per, factor)
as values
    ('load', 'regime=warm', 'warm', 'load_warm_ms', 'time', 40.0),
    ('load', 'regime=warm', 'warm', 'load_weights_ms', 'time', 37.0),
    ('load', 'regime=warm', 'warm', 'load_build_ms', 'time', 1.6),
    ('load', 'regime=warm', 'warm', 'first_eval_ms', 'time', 2.0),
    ('load', 'regime=warm', 'warm', 'load_gbps', 'rate', 0.05),
    ('load', 'regime=warm', 'warm', 'mem_weights_bytes', 'weights', 1.0),
    ('load', 'regime=cold', 'cold', 'load_cold_ms', 'time', 90.0),
    ('load', 'regime=cold', 'cold', 'load_weights_ms', 'time', 86.0),
    ('load', 'regime=cold', 'cold', 'load_build_ms', 'time', 1.6),
    ('load', 'regime=cold', 'cold', 'first_eval_ms', 'time', 2.1),
    ('load', 'regime=cold', 'cold', 'load_gbps', 'rate', 0.02),
    ('load', 'regime=cold', 'cold', 'mem_weights_bytes', 'weights', 1.0),
    ('prefill', 'prompt=512,depth=0,chunk=2048', 'prefill', 'prefill_tps', 'rate', 14.0),
    ('prefill', 'prompt=512,depth=0,chunk=2048', 'prefill', 'prefill_ms', 'time', 36.5),
    ('prefill', 'prompt=512,depth=0,chunk=2048', 'prefill', 'ttft_ms', 'time', 37.6),
    ('prefill', 'prompt=512,depth=0,chunk=2048', 'prefill', 'prefill_tps_mlxlm', 'rate', 13.6),
    ('prefill', 'prompt=512,depth=0,chunk=2048', 'prefill', 'mem_peak_bytes', 'weights', 1.08),
    ('prefill', 'prompt=2048,depth=0,chunk=2048', 'prefill', 'prefill_tps', 'rate', 13.0),
    ('prefill', 'prompt=2048,depth=0,chunk=2048', 'prefill', 'prefill_ms', 'time', 157.0),
    ('prefill', 'prompt=2048,depth=0,chunk=2048', 'prefill', 'ttft_ms', 'time', 159.0),
    ('prefill', 'prompt=2048,depth=0,chunk=2048', 'prefill', 'prefill_tps_mlxlm', 'rate', 12.9),
    ('prefill', 'prompt=2048,depth=0,chunk=2048', 'prefill', 'mem_peak_bytes', 'weights', 1.2),
    ('decode', 'new=128,depth=0', 'pipelined', 'decode_tps', 'rate', 1.0),
    ('decode', 'new=128,depth=0', 'pipelined', 'decode_tps_mlxlm', 'rate', 1.008),
    ('decode', 'new=128,depth=0', 'pipelined', 'host_build_us', 'time', 0.08),
    ('decode', 'new=128,depth=0', 'pipelined', 'host_overhead_us', 'time', 0.1),
    ('decode', 'new=128,depth=0', 'pipelined', 'mem_peak_bytes', 'weights', 1.05),
    ('decode', 'new=128,depth=0', 'per_token', 'decode_tps_sync', 'rate', 0.9),
    ('decode', 'new=128,depth=0', 'per_token', 'itl_ms', 'time', 1.11),
    ('decode', 'new=128,depth=2048', 'pipelined', 'decode_tps_at_depth', 'rate', 0.87),
    ('decode', 'new=128,depth=2048', 'pipelined', 'decode_tps_mlxlm', 'rate', 0.88),
    ('decode', 'new=128,depth=2048', 'pipelined', 'host_build_us', 'time', 0.08),
    ('decode', 'new=128,depth=2048', 'pipelined', 'host_overhead_us', 'time', 0.1),
    ('decode', 'new=128,depth=2048', 'pipelined', 'mem_peak_bytes', 'weights', 1.1),
    ('decode', 'new=128,depth=2048', 'per_token', 'decode_tps_sync', 'rate', 0.78),
    ('decode', 'new=128,depth=2048', 'per_token', 'itl_ms', 'time', 1.28),
    ('memory', 'prompt=256', 'prefill', 'kv_bytes', 'cache', 256.0),
    ('memory', 'prompt=256', 'prefill', 'kv_used_bytes', 'cache', 256.0),
    ('memory', 'prompt=256', 'prefill', 'mem_peak_bytes', 'weights', 1.05),
    ('memory', 'prompt=256', 'prefill', 'mem_active_bytes', 'weights', 1.01),
    ('memory', 'prompt=256', 'prefill', 'ttft_ms', 'time', 19.0),
    ('memory', 'prompt=1024', 'prefill', 'kv_bytes', 'cache', 1024.0),
    ('memory', 'prompt=1024', 'prefill', 'kv_used_bytes', 'cache', 1024.0),
    ('memory', 'prompt=1024', 'prefill', 'mem_peak_bytes', 'weights', 1.12),
    ('memory', 'prompt=1024', 'prefill', 'mem_active_bytes', 'weights', 1.03),
    ('memory', 'prompt=1024', 'prefill', 'ttft_ms', 'time', 76.0),
    ('memory', 'prompt=4096', 'prefill', 'kv_bytes', 'cache', 4096.0),
    ('memory', 'prompt=4096', 'prefill', 'kv_used_bytes', 'cache', 4096.0),
    ('memory', 'prompt=4096', 'prefill', 'mem_peak_bytes', 'weights', 1.4),
    ('memory', 'prompt=4096', 'prefill', 'mem_active_bytes', 'weights', 1.1),
    ('memory', 'prompt=4096', 'prefill', 'ttft_ms', 'time', 320.0),
    ('batch', 'batch=2,prompt=512,new=64,lengths=equal', 'batch', 'batch_decode_tps', 'rate', 1.8),
    ('batch', 'batch=2,prompt=512,new=64,lengths=equal', 'batch', 'batch_stream_tps', 'rate', 0.9),
    ('batch', 'batch=2,prompt=512,new=64,lengths=equal', 'batch', 'batch_speedup', 'plain', 1.8),
    ('batch', 'batch=2,prompt=512,new=64,lengths=equal', 'batch', 'batch_efficiency', 'plain', 0.9),
    ('batch', 'batch=8,prompt=512,new=64,lengths=equal', 'batch', 'batch_decode_tps', 'rate', 3.6),
    ('batch', 'batch=8,prompt=512,new=64,lengths=equal', 'batch', 'batch_stream_tps', 'rate', 0.45),
    ('batch', 'batch=8,prompt=512,new=64,lengths=equal', 'batch', 'batch_speedup', 'plain', 3.6),
    ('batch', 'batch=8,prompt=512,new=64,lengths=equal', 'batch', 'batch_efficiency', 'plain', 0.45),
    ('roofline', 'stream,mb=1024', 'roofline', 'stream_gbps', 'bandwidth', 0.9),
    ('roofline', 'gemm,n=4096,dtype=bf16', 'roofline', 'gemm_tflops_bf16', 'bandwidth', 0.034);

-- The place of a case within its suite.
create temp table case_place as
select suite, case_key, row_number() over (partition by suite order by case_key) - 1 as place
from (select distinct suite, case_key from case_plan) as named;

insert into fleet.machine (
    machine_id, identity, name, hostname, os, os_version, os_build, arch, hardware_model, chip, gpu_cores,
    cpu_cores, memory_bytes, boot_id, virtual_machine, simulated, agent_version, labels, enrolled_at,
    last_seen_at
)
select
    pg_temp.id('2026-01-01 UTC', 'machine ' || n), 'simulated-' || n, 'simulated-' || lpad(n::text, 3, '0'),
    'simulated-' || lpad(n::text, 3, '0') || '.local', 'macos', '26.' || n % 3, '25B78', 'arm64', 'Mac16,' || n % 12 + 1,
    chip.chip, chip.gpu_cores, 10, (array[16, 24, 36, 64, 96, 128])[n % 6 + 1] * 2::bigint ^ 30,
    md5('boot ' || n), false, false, '0.1.0', jsonb_build_object('room', 'rack-' || n % 10),
    '2026-01-01 UTC', '2026-11-02 UTC'
from generate_series(1, current_setting('bench.machines')::integer) as n
join (
    select *, row_number() over (order by chip, gpu_cores) as place, count(*) over () as chips
    from fleet.chip
    where gpu_cores is not null
) as chip on chip.place = (n * 7) % chip.chips + 1;

-- Most are on one release of MLX; what the last digit of the name says lags behind.
create temp table machine_plan as
select
    machine.*,
    right(name, 3)::integer as number,
    chip.bandwidth_gbps,
    encode(sha256(convert_to(
        concat_ws(' ', 'environment', os_version, memory_bytes, right(name, 1) = '7'), 'utf8'
    )), 'hex') as environment_id,
    case when right(name, 1) = '7' then '0.31.0' else '0.32.2' end as mlx_version
from fleet.machine
join fleet.chip on chip.chip = machine.chip and chip.gpu_cores = machine.gpu_cores;

insert into fleet.environment (
    environment_id, os, os_version, os_build, kernel, agent_version, agent_commit, suite_version, suite_commit,
    mlx_version, mlx_device, mlx_architecture, blas, debug_build, nax_built, metallib_sha256, mlx_env,
    power_source, low_power_mode, recommended_working_set_bytes
)
select distinct
    environment_id, os, os_version, os_build, 'Darwin 25.1.0', '0.1.0', 'c0ffee', '0.1.0', 'c0ffee',
    mlx_version, 'Device(gpu, 0)', 'applegpu_g16s', 'Accelerate', false, true,
    encode(sha256(convert_to('metallib ' || mlx_version, 'utf8')), 'hex'),
    '{"MLX_METAL_FAST_SYNCH": "0"}'::jsonb, 'ac', false, memory_bytes / 4 * 3
from machine_plan;

insert into fleet.model (
    digest, dtype, label, source, model_type, quantisation, parameters, weight_bytes, decode_bytes,
    kv_bytes_per_token, synthetic, config
)
select
    encode(sha256(convert_to(label, 'utf8')), 'hex'), 'bf16', label, source, model_type, quantisation, parameters,
    weight_bytes, weight_bytes, kv_bytes, true, jsonb_build_object('model_type', model_type)
from model_plan
order by place;

insert into fleet.work (model_id, suite, case_key, metric, bytes, flops)
select
    model_id, suite, case_key, metric,
    case when suite = 'decode' then decode_bytes + kv_bytes_per_token
        * (report.case_parameter(case_key, 'depth')::double precision + 64) end,
    2.0 * parameters
from fleet.model
cross join case_plan
where metric in ('prefill_tps', 'decode_tps', 'decode_tps_at_depth', 'decode_tps_sync');

insert into fleet.plan (plan_id, name, sha256, toml)
select pg_temp.id('2026-01-01 UTC', name), name, encode(sha256(convert_to(toml, 'utf8')), 'hex'), toml
from (values ('fleet', E'name = "fleet"\n'), ('nightly', E'name = "nightly"\n')) as plan (name, toml);

-- The whole fleet every other week, the last time at its end; two machines with one model night by night.
create temp table run_plan as
select
    pg_temp.id(at, plan || ' ' || at) as run_id, plan, at,
    case plan when 'fleet' then current_setting('bench.machines')::integer else 2 end as machines,
    case plan when 'fleet' then 4 else 1 end as models,
    case plan when 'fleet' then 7 else 3 end as launches
from (
    select 'fleet' as plan, '2026-11-02 08:00 UTC'::timestamptz - n * interval '14 days' as at
    from generate_series(1, current_setting('bench.runs')::integer) as n
    union all
    select 'nightly', '2026-11-02 02:00 UTC'::timestamptz - n * interval '1 day' from generate_series(1, 10) as n
) as submitted;

insert into fleet.run (
    run_id, plan_id, label, file_name, headline, protocol, state, submitted_at, ended_at
)
select
    run_id, pg_temp.id('2026-01-01 UTC', plan), 'measured', plan || '.toml',
    '{decode_tps,decode_tps_at_depth,prefill_tps,ttft_ms}',
    jsonb_build_object('launches', launches, 'min_iterations', 5, 'warmup_max_iterations', 1, 'interleave', true),
    'succeeded', at, at + interval '3 hours'
from run_plan;

insert into fleet.exclusion (run_id, reason, machine_ids)
select run_id, 'the plan does not name it', array_agg(machine_id)
from run_plan
join machine_plan on number > machines
group by run_id;

-- Per machine one suite after another, ten minutes each; the machines at the same time.
create temp table job_plan as
select
    pg_temp.id(run.at, concat_ws(' ', 'job', run.run_id, machine.name, model.place, suite.suite)) as job_id,
    pg_temp.id(run.at, concat_ws(' ', 'lease', run.run_id, machine.name, model.place, suite.suite)) as lease_id,
    run.run_id, run.launches, machine.machine_id, machine.environment_id, machine.boot_id,
    machine.bandwidth_gbps, suite.suite, suite.cases, model.label, model.source, fleet_model.model_id,
    model.weight_bytes, model.kv_bytes,
    -- Tokens per second.
    0.8 * machine.bandwidth_gbps * 1e9 / coalesce(model.weight_bytes, 1e9) as rate,
    row_number() over (partition by run.run_id order by machine.number, model.place, suite.suite) - 1 as ordinal,
    run.at + interval '10 minutes' * row_number() over (
        partition by run.run_id, machine.number order by model.place, suite.suite
    ) as started_at
from run_plan as run
join machine_plan as machine on machine.number <= run.machines
cross join (select suite, count(*) as cases from case_place group by suite) as suite
left join model_plan as model on suite.suite <> 'roofline' and model.place <= run.models
left join fleet.model as fleet_model using (label);

insert into fleet.job (
    job_id, run_id, machine_id, ordinal, suite, model_source, model_label, dtype, cases, launches_total, state,
    epoch, started_at, ended_at
)
select
    job_id, run_id, machine_id, ordinal, job.suite, source, coalesce(label, '(machine)'),
    case when label is not null then 'bf16' end,
    (select jsonb_agg(jsonb_build_object('suite', c.suite, 'key', c.case_key) order by c.place)
        from case_place as c where c.suite = job.suite),
    launches * cases, 'succeeded', 1, started_at, started_at + interval '10 minutes'
from job_plan as job
order by run_id, ordinal;

insert into fleet.job (
    job_id, run_id, machine_id, ordinal, suite, model_source, model_label, dtype, cases, launches_total, state,
    reason, ended_at
)
select
    pg_temp.id(at, concat_ws(' ', 'skipped', run_id, number)), run_id, machine_id, 100000 + number, 'decode',
    'synthetic:llama-3.1-8b', 'llama-3.1-8b', 'bf16', '[]', 14, 'skipped', 'would not fit, needs 16.1 GB, has 12.8 GB',
    at
from run_plan
join machine_plan on number <= machines and memory_bytes < 20e9;

insert into fleet.lease (lease_id, job_id, machine_id, epoch, state, granted_at, expires_at, ended_at)
select
    lease_id, job_id, machine_id, 1, 'released', started_at, started_at + interval '11 minutes',
    started_at + interval '10 minutes'
from job_plan;

insert into fleet.event (at, kind, run_id, job_id, machine_id, lease_id, detail)
select at, kind, run_id, job_id, machine_id, lease_id, detail
from job_plan
cross join lateral (
    values (started_at, 'job granted', 'epoch 1'), (started_at + interval '10 minutes', 'job ended', 'succeeded')
) as change (at, kind, detail)
order by at;

-- A block holds every case once, and starts with another one each time.
create temp table launch_plan as
select
    job.*, place.case_key, block,
    block * cases + (place.place + block) % cases as position,
    pg_temp.id(
        job.started_at + interval '18 seconds' * (block * cases + (place.place + block) % cases),
        concat_ws(' ', 'launch', job.job_id, place.case_key, block)
    ) as launch_id,
    job.started_at + interval '18 seconds' * (block * cases + (place.place + block) % cases) as launched_at,
    pg_temp.noise(0.008) as effect,
    case
        when random() < 0.02 then '{thermal}'::text[]
        when suite = 'load' and random() < 0.02 then '{not_cold}'::text[]
        else '{}'
    end as reasons
from job_plan as job
join case_place as place using (suite)
cross join lateral generate_series(0, launches - 1) as block;

insert into fleet.launch (
    launch_id, lease_id, job_id, case_key, ordinal, position, seed, started_at, finished_at, model_id,
    environment_id, boot_id, outcome, steady, warmup_iterations, reasons, exit_code, counted
)
select
    launch_id, lease_id, job_id, case_key, block, position, 42 + block, launched_at,
    launched_at + interval '15 seconds', model_id, environment_id, boot_id, 'succeeded', true, 1, reasons, 0, true
from launch_plan
order by launched_at, launch_id;

insert into fleet.heat (
    launch_id, cooldown_ms, canary_gemm_tflops_before, canary_gemm_ratio_before, canary_stream_gbps_before,
    canary_stream_ratio_before, canary_gemm_tflops_after, canary_gemm_ratio_after, canary_stream_gbps_after,
    canary_stream_ratio_after, trend_pct, telemetry_gap_ms, sensors_cost_pct, sensors_cost_pct_low,
    sensors_cost_pct_high
)
select
    launch_id, 1500, 0.034 * bandwidth_gbps, 1, 0.9 * bandwidth_gbps, 1, 0.033 * bandwidth_gbps, 0.97,
    0.89 * bandwidth_gbps, 0.99, -0.4, 1010, 0.1, -0.2, 0.4
from launch_plan
order by launched_at, launch_id;

-- One pass to warm up and five that count, in each of the case's modes.
insert into fleet.iteration (
    iteration_id, launch_id, ordinal, phase, mode, started_us, duration_ns, work, token_ns, reasons,
    token_ids_sha256
)
overriding system value
select
    row_number() over (order by launched_at, launch_id, number), launch_id, number,
    case pass when 0 then 'warmup' else 'measured' end, mode, 200000 + number * 1150000, duration_ns,
    case suite when 'decode' then 128 else 512 end,
    case
        when suite = 'decode' then array(
            select (duration_ns / 128.0 * (token - 0.3 * random()))::bigint
            from generate_series(1, 128) as token
        )
        else '{}'
    end,
    case when random() < 0.005 then '{foreign_cpu}'::text[] else '{}' end,
    case
        when suite = 'decode' then encode(sha256(convert_to(concat_ws(' ', label, case_key), 'utf8')), 'hex')
        else ''
    end
from (
    select
        launch.*, mode.mode, pass,
        row_number() over (partition by launch_id order by pass, mode.mode desc) - 1 as number,
        (1.1e9 * pg_temp.noise(0.004))::bigint as duration_ns
    from launch_plan as launch
    join (select distinct suite, case_key, mode from case_plan) as mode using (suite, case_key)
    cross join generate_series(0, 5) as pass
) as passed
order by launched_at, launch_id, number;

select setval(
    pg_get_serial_sequence('fleet.iteration', 'iteration_id'), (select max(iteration_id) from fleet.iteration)
);

insert into fleet.sample (iteration_id, metric, value)
select
    iteration.iteration_id, measured.metric,
    measured.factor * case measured.per
        when 'rate' then launch.rate / launch.effect * pg_temp.noise(0.004)
        when 'time' then 1000 / launch.rate * launch.effect * pg_temp.noise(0.004)
        when 'plain' then pg_temp.noise(0.004)
        when 'bandwidth' then launch.bandwidth_gbps * pg_temp.noise(0.004)
        when 'weights' then launch.weight_bytes
        when 'cache' then launch.kv_bytes
    end
from fleet.iteration
join launch_plan as launch using (launch_id)
join case_plan as measured using (suite, case_key, mode)
order by iteration.iteration_id, measured.metric;

-- Sensors once a second, from a launch's start to its end.
insert into fleet.reading (machine_id, lease_id, at, sensor, value)
select
    machine_id, lease_id, launched_at + second * interval '1 second', sensor, typical * pg_temp.noise(0.03)
from launch_plan
cross join generate_series(0, 15) as second
cross join (
    values ('gpu_power_w', 14.0), ('cpu_power_w', 4.0), ('gpu_mhz', 1400.0), ('gpu_temp_c', 62.0)
) as sensor (sensor, typical)
order by launched_at, sensor;

-- Triggers kept out, as foreign keys were.
select fleet.summarise_launches(array(select launch_id from fleet.launch));

set session_replication_role = origin;
