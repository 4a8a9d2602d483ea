-- The tables of a fleet. Names are singular, keys are <table>_id, units are the last word of a name.
-- Users query the views of schema report; nothing outside the coordinator reads these tables.

create schema fleet;

-- What can be measured: written by the coordinator from domain::metric.
create table fleet.metric (
    metric text primary key,
    unit text not null,
    direction text not null check (direction in ('higher', 'lower', 'neutral')),
    description text not null
);

-- Why a sample may not be what it seems: written by the coordinator from domain::reason.
create table fleet.reason (
    reason text primary key,
    severity text not null check (severity in ('invalid', 'tainted')),
    description text not null
);

create table fleet.machine (
    machine_id uuid primary key,
    identity text not null unique,
    name text not null unique,
    hostname text not null,
    os text not null,
    os_version text not null,
    os_build text not null,
    arch text not null,
    hardware_model text not null,
    chip text not null,
    gpu_cores integer,
    gpu_max_mhz integer,
    cpu_cores integer not null,
    cpu_tiers jsonb not null default '[]',
    memory_bytes bigint not null,
    wired_limit_bytes bigint,
    boot_id text not null,
    virtual_machine boolean not null,
    simulated boolean not null,
    -- It stands for somebody else's: no agent has described it, and none of it is leased anything.
    imported boolean not null default false,
    agent_version text not null,
    labels jsonb not null default '{}',
    drained boolean not null default false,
    enrolled_at timestamptz not null default now(),
    -- A connected agent touches this with every heartbeat; a stale one is offline.
    last_seen_at timestamptz
);

create table fleet.certificate (
    fingerprint text primary key,
    machine_id uuid not null references fleet.machine,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz
);

-- Join tokens and operators' tokens; only the hash of the secret is kept.
create table fleet.token (
    token_id text primary key,
    kind text not null check (kind in ('join', 'viewer', 'operator', 'admin')),
    name text not null,
    secret_sha256 bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    uses_left integer check (uses_left >= 0),
    revoked_at timestamptz
);

-- What every coordinator of this database must agree on.
create table fleet.setting (
    setting text primary key,
    value text not null
);

-- Of an import the text is the file itself.
create table fleet.plan (
    plan_id uuid primary key,
    name text not null,
    sha256 text not null unique,
    toml text not null
);

create table fleet.run (
    run_id uuid primary key,
    plan_id uuid not null references fleet.plan,
    label text not null default 'measured' check (label in ('measured', 'simulated', 'imported')),
    -- Who measured, with what, where it was not this fleet.
    source text,
    file_name text not null,
    headline text[] not null,
    protocol jsonb not null,
    state text not null default 'active'
        check (state in ('active', 'succeeded', 'incomplete', 'cancelled')),
    submitted_at timestamptz not null default now(),
    ended_at timestamptz,
    constraint an_ended_run_has_its_time check ((state = 'active') = (ended_at is null)),
    constraint an_import_has_its_source check ((label = 'imported') = (source is not null))
);

-- Machines that a run's plan does not mean, and why.
create table fleet.exclusion (
    run_id uuid not null references fleet.run,
    machine_id uuid not null references fleet.machine,
    reason text not null,
    primary key (run_id, machine_id)
);

create table fleet.job (
    job_id uuid primary key,
    run_id uuid not null references fleet.run,
    machine_id uuid not null references fleet.machine,
    ordinal integer not null,
    suite text not null,
    -- NULL for a suite about the machine itself.
    model_source text,
    model_label text not null,
    dtype text check (dtype in ('bf16', 'f16', 'f32')),
    cases jsonb not null,
    launches_total integer not null,
    state text not null
        check (state in ('queued', 'leased', 'succeeded', 'failed', 'skipped', 'parked', 'cancelled')),
    reason text not null default '',
    epoch bigint not null default 0,
    failures integer not null default 0,
    started_at timestamptz,
    ended_at timestamptz,
    unique (run_id, ordinal),
    constraint an_ended_job_has_its_time
        check ((state in ('queued', 'leased')) = (ended_at is null))
);

create index job_queue on fleet.job (machine_id, run_id, ordinal) where state = 'queued';
create index job_of_run on fleet.job (run_id);

create table fleet.lease (
    lease_id uuid primary key,
    job_id uuid not null references fleet.job,
    machine_id uuid not null references fleet.machine,
    epoch bigint not null,
    state text not null default 'live' check (state in ('live', 'released', 'expired', 'cancelled')),
    granted_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz,
    unique (job_id, epoch),
    constraint an_ended_lease_has_its_time check ((state = 'live') = (ended_at is null))
);

create unique index one_live_lease_per_job on fleet.lease (job_id) where state = 'live';
create unique index one_live_lease_per_machine on fleet.lease (machine_id) where state = 'live';
create index lease_expiry on fleet.lease (expires_at) where state = 'live';

-- A batch is taken at most once: its number within its lease is the key.
create table fleet.batch (
    lease_id uuid not null references fleet.lease,
    seq bigint not null,
    received_at timestamptz not null default now(),
    primary key (lease_id, seq)
);

-- Identity is content; the same weights in the same precision are one row.
create table fleet.model (
    model_id bigint generated always as identity primary key,
    digest text not null,
    dtype text not null,
    label text not null,
    source text not null,
    model_type text not null,
    quantisation text not null,
    parameters bigint not null,
    weight_bytes bigint not null,
    decode_bytes bigint not null,
    kv_bytes_per_token bigint not null,
    synthetic boolean not null,
    config jsonb not null,
    unique (digest, dtype, label)
);

-- What one unit of a metric's value makes a machine do (a token per second: bytes read and operations
-- computed for each token), by the domain's arithmetic.
create table fleet.work (
    model_id bigint not null references fleet.model,
    suite text not null,
    case_key text not null,
    metric text not null,
    bytes double precision,
    flops double precision,
    primary key (model_id, suite, case_key, metric),
    constraint work_is_something check (num_nonnulls(bytes, flops) > 0)
);

-- What is published of chips, by name and GPU cores; without cores, the most that any has.
create table fleet.chip (
    chip text not null,
    gpu_cores integer,
    bandwidth_gbps double precision not null,
    bandwidth_source text not null,
    fp32_tflops double precision,
    fp32_kind text not null,
    peak_tflops double precision,
    unique nulls not distinct (chip, gpu_cores)
);

-- The conditions of launches, by the hash of all of them.
create table fleet.environment (
    environment_id text primary key,
    os text not null,
    os_version text not null,
    os_build text not null,
    kernel text not null,
    agent_version text not null,
    agent_commit text not null,
    suite_version text not null,
    suite_commit text not null,
    mlx_version text not null,
    mlx_device text not null,
    mlx_architecture text not null,
    blas text not null,
    debug_build boolean not null,
    nax_built boolean,
    metallib_sha256 text not null,
    metallib_bytes bigint,
    mlx_env jsonb not null,
    power_source text,
    low_power_mode boolean,
    wired_limit_bytes bigint,
    recommended_working_set_bytes bigint not null
);

create table fleet.launch (
    launch_id uuid primary key,
    lease_id uuid not null references fleet.lease,
    job_id uuid not null references fleet.job,
    case_key text not null,
    ordinal integer not null,
    position integer not null,
    seed bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    model_id bigint references fleet.model,
    environment_id text references fleet.environment,
    boot_id text,
    outcome text not null default 'running' check (outcome in (
        'running', 'succeeded', 'failed', 'timed_out', 'crashed', 'protocol_error', 'skipped',
        'interrupted', 'cancelled')),
    message text not null default '',
    steady boolean,
    warmup_iterations integer,
    reasons text[] not null default '{}',
    stderr_tail text not null default '',
    exit_code integer,
    signal integer,
    -- Finished under its live lease; others are evidence and stay out of every summary.
    counted boolean not null default false,
    constraint only_success_counts check (not counted or outcome = 'succeeded')
);

create unique index a_launch_counts_once on fleet.launch (job_id, case_key, ordinal) where counted;
create index launch_of_lease on fleet.launch (lease_id);
create index launch_of_job on fleet.launch (job_id);

-- How warm the machine was beside a launch, and what that did. NULL: not asked for, or unknown.
create table fleet.heat (
    launch_id uuid primary key references fleet.launch,
    cooldown_ms bigint not null,
    canary_gemm_tflops_before double precision,
    canary_gemm_ratio_before double precision,
    canary_stream_gbps_before double precision,
    canary_stream_ratio_before double precision,
    canary_gemm_tflops_after double precision,
    canary_gemm_ratio_after double precision,
    canary_stream_gbps_after double precision,
    canary_stream_ratio_after double precision,
    trend_pct double precision,
    telemetry_gap_ms bigint not null,
    sensors_cost_pct double precision,
    sensors_cost_pct_low double precision,
    sensors_cost_pct_high double precision
);

create table fleet.iteration (
    iteration_id bigint generated always as identity primary key,
    launch_id uuid not null references fleet.launch,
    ordinal integer not null,
    phase text not null check (phase in ('warmup', 'measured')),
    mode text not null,
    started_us bigint not null,
    duration_ns bigint not null,
    work bigint not null,
    -- When each token's value was known, since the region began.
    token_ns bigint[] not null default '{}',
    reasons text[] not null default '{}',
    token_ids_sha256 text not null default '',
    unique (launch_id, ordinal)
);

create table fleet.sample (
    iteration_id bigint not null references fleet.iteration,
    metric text not null references fleet.metric,
    value double precision not null
        constraint a_sample_is_a_finite_number
        check (value not in ('NaN', 'Infinity', '-Infinity')),
    primary key (iteration_id, metric)
);

-- Sensor values of a machine while it held a lease. What cannot be read has no row.
create table fleet.reading (
    machine_id uuid not null references fleet.machine,
    lease_id uuid not null references fleet.lease,
    at timestamptz not null,
    sensor text not null,
    value double precision not null
        check (value not in ('NaN', 'Infinity', '-Infinity')),
    primary key (machine_id, sensor, at)
);

create index reading_of_lease on fleet.reading (lease_id);

-- What happened, for audit: one row per change of a run, job or lease.
create table fleet.event (
    event_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    kind text not null,
    run_id uuid references fleet.run,
    job_id uuid references fleet.job,
    machine_id uuid references fleet.machine,
    lease_id uuid references fleet.lease,
    detail text not null default ''
);

create index event_of_run on fleet.event (run_id, event_id);
