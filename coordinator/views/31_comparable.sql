-- What a number may be compared with: the conditions of P30 of docs/measurement.md beside each case
-- summary, and all of them in one text. Numbers of one case and metric with equal texts may be compared;
-- a number without one may not be compared with any.
create view report.comparable as
with
condition as (
    -- What P30 of docs/measurement.md wants equal, one row per set of conditions that launches ran in.
    select
        *,
        row(
            os_major, mlx_version, mlx_device, agent_version, agent_commit, suite_version,
            suite_commit, nax_built, nax_expected, blas, mlx_env
        )::text as everything
    from (
        select
            environment_id,
            os || ' ' || split_part(os_version, '.', 1) as os_major,
            mlx_version,
            mlx_device,
            agent_version,
            agent_commit,
            suite_version,
            suite_commit,
            nax_built,
            report.nax_expected(os, os_version, mlx_architecture) as nax_expected,
            blas,
            knob.text as mlx_env
        from fleet.environment
        cross join lateral (
            -- The variables that change speed; folders and the like may differ.
            select coalesce(string_agg(key || '=' || value, ' ' order by key), '') as text
            from jsonb_each_text(mlx_env)
            where key in (
                'MLX_METAL_FAST_SYNCH', 'MLX_MAX_OPS_PER_BUFFER', 'MLX_MAX_MB_PER_BUFFER',
                'MLX_SDPA_BLOCKS', 'MLX_ENABLE_TF32', 'MLX_DISABLE_COMPILE', 'MLX_METAL_GPU_ARCH'
            )
        ) as knob
    ) as kind
)
select
    summary.run_id,
    summary.machine,
    summary.chip,
    summary.model,
    summary.suite,
    summary.case_key,
    summary.metric,
    summary.unit,
    case
        -- Under which conditions others measured is not known here.
        when summary.label <> 'imported'
            and summary.valid
            and summary.on_logs
            and condition.environment_id is not null
            and not environment_changed
            -- A suite about the machine itself has no weights to differ; another's must be known.
            and (summary.model_source is null or summary.model_digest is not null)
        then md5(row(
            case when summary.model_source is not null then summary.model_digest end,
            summary.quantisation, summary.simulated, summary.label, rule.protocol, condition.everything
        )::text)
    end as comparable_as,
    summary.estimate,
    summary.launches,
    summary.valid,
    summary.tainted,
    summary.direction,
    summary.on_logs,
    summary.location_mean,
    summary.location_sd,
    summary.dtype,
    summary.quantisation,
    summary.model_source,
    summary.model_id,
    summary.model_digest,
    rule.protocol,
    condition.environment_id,
    changed.environment_changed,
    condition.os_major,
    condition.mlx_version,
    condition.mlx_device,
    condition.agent_version,
    condition.agent_commit,
    condition.suite_version,
    condition.suite_commit,
    condition.nax_built,
    condition.nax_expected,
    condition.blas,
    condition.mlx_env,
    summary.machine_id,
    summary.simulated,
    summary.label
from report.case_summary as summary
join (
    -- How often and how long is no part of how it is measured.
    select
        run_id,
        protocol - array['launches', 'precision', 'launch_timeout_ms', 'gate_timeout_ms'] as protocol
    from fleet.run
) as rule using (run_id)
left join condition on condition.environment_id = summary.environment_ids[1]
cross join lateral (
    select
        -- Asked only of the few cases that saw several environments.
        case when cardinality(summary.environment_ids) > 1 then (
            select count(distinct condition.everything) > 1
            from condition
            where condition.environment_id = any(summary.environment_ids)
        ) else false end as environment_changed
    offset 0
) as changed;
comment on view report.comparable is
    'One row per case summary: what it may be compared with. Rows of one case and metric with equal comparable_as may be.';
comment on column report.comparable.comparable_as is
    'hash of all that must be equal; NULL where the number may be compared with no other';
comment on column report.comparable.estimate is 'the number, in unit';
comment on column report.comparable.location_mean is 'mean over launches, of logs where on_logs';
comment on column report.comparable.location_sd is 'sample standard deviation over launches, of logs where on_logs';
comment on column report.comparable.on_logs is 'location_mean and location_sd are of logs';
comment on column report.comparable.protocol is 'the plan''s rules but how often and how long';
comment on column report.comparable.environment_changed is 'its launches ran under conditions that may not be compared with one another';
comment on column report.comparable.os_major is 'operating system and its major version';
comment on column report.comparable.mlx_version is 'version of MLX that ran';
comment on column report.comparable.mlx_device is 'the device that MLX computed on';
comment on column report.comparable.suite_version is 'version of the worker';
comment on column report.comparable.agent_commit is 'commit that the agent was built from';
comment on column report.comparable.suite_commit is 'commit that the worker was built from';
comment on column report.comparable.nax_built is 'the metallib holds the matrix kernels of M5 and later; NULL without a metallib';
comment on column report.comparable.nax_expected is 'the GPU has matrix units that this system lets MLX use';
comment on column report.comparable.blas is 'the BLAS of the CPU backend';
comment on column report.comparable.mlx_env is 'the MLX_ variables that change speed, as the worker ran with them';
