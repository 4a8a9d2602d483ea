-- A case's numbers against the same case's numbers on another machine, in another run, or both, only where
-- everything else is equal. Where it is not, the row says what differs and gives no number.
--
-- Every ordered pair is a row. The margin is 2 % on a log scale, the same seen from either side. Each
-- verdict is by its own interval, without correction for how many are asked at once; reports correct by
-- Holm. report.comparison is the part of it that most ask for.
create view report.pair as
with
condition as (
    -- What P30 of docs/measurement.md wants equal, one row per set of conditions that launches ran in.
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
        knob.text as mlx_env,
        row(
            os, split_part(os_version, '.', 1), mlx_version, mlx_device, agent_version, agent_commit,
            suite_version, suite_commit, nax_built,
            report.nax_expected(os, os_version, mlx_architecture), blas, knob.text
        )::text as everything
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
),
summary as not materialized (
    select
        *,
        -- Asked only of the few cases that saw several environments.
        case when cardinality(environment_ids) > 1 then (
            select count(distinct condition.everything) > 1
            from condition
            where condition.environment_id = any(environment_ids)
        ) else false end as changed
    from report.case_summary
),
pair as (
    select
        a.run_id, b.run_id as baseline_run_id, a.label, a.machine, b.machine as baseline, a.chip, b.chip as baseline_chip,
        a.machine_id, b.machine_id as baseline_id,
        a.model, a.model_source, a.model_id, a.dtype,
        a.model_digest, b.model_digest as baseline_model_digest,
        a.quantisation, b.quantisation as baseline_quantisation,
        a.suite, a.case_key, a.metric, a.unit, a.direction,
        a.estimate, b.estimate as baseline_estimate,
        a.launches, b.launches as baseline_launches,
        a.tainted or b.tainted as tainted,
        array_remove(array[
            -- A suite about the machine itself has no weights to differ; another's must be known.
            case when a.model_source is not null
                and (a.model_digest = b.model_digest) is not true then 'model_digest' end,
            case when a.quantisation is distinct from b.quantisation then 'quantisation' end,
            case when a.simulated <> b.simulated then 'simulated' end,
            case when a.label <> b.label then 'label' end,
            -- Asked only of two runs. How often and how long is no part of how it is measured.
            case when a.run_id <> b.run_id and (
                select count(distinct protocol - array[
                    'launches', 'precision', 'launch_timeout_ms', 'gate_timeout_ms'
                ]) > 1
                from fleet.run
                where run.run_id in (a.run_id, b.run_id)
            ) then 'protocol' end,
            -- Under which conditions others measured is not known here.
            case when 'imported' in (a.label, b.label) then 'imported' end,
            case when ca.environment_id is null or cb.environment_id is null
                then 'environment_unknown' end,
            -- Numbers of one case from before and after an update are no one number.
            case when a.changed or b.changed then 'environment_changed' end,
            case when ca.os_major is distinct from cb.os_major then 'os_major' end,
            case when ca.mlx_version is distinct from cb.mlx_version then 'mlx_version' end,
            case when ca.mlx_device is distinct from cb.mlx_device then 'mlx_device' end,
            case when ca.agent_version is distinct from cb.agent_version then 'agent_version' end,
            case when ca.agent_commit is distinct from cb.agent_commit then 'agent_commit' end,
            case when ca.suite_version is distinct from cb.suite_version then 'suite_version' end,
            case when ca.suite_commit is distinct from cb.suite_commit then 'suite_commit' end,
            case when ca.nax_built is distinct from cb.nax_built then 'nax_built' end,
            case when ca.nax_expected is distinct from cb.nax_expected then 'nax_expected' end,
            case when ca.blas is distinct from cb.blas then 'blas' end,
            case when ca.mlx_env is distinct from cb.mlx_env then 'mlx_env' end,
            case when not a.valid then 'invalid' end,
            case when not b.valid then 'baseline_invalid' end,
            case when not (a.on_logs and b.on_logs) then 'not_positive' end
        ], null) as differences,
        a.location_mean - b.location_mean as log_ratio,
        a.location_sd ^ 2 / a.launches as variance,
        b.location_sd ^ 2 / b.launches as baseline_variance
    from summary as a
    join summary as b
        on b.suite = a.suite
        and b.case_key = a.case_key
        and b.metric = a.metric
        -- Not by name: weights keep the one that they first came under. Written so that NULL, which a
        -- suite about the machine has, equals NULL and the join can hash it.
        and coalesce(b.model_source, '') = coalesce(a.model_source, '')
        and coalesce(b.dtype, '') = coalesce(a.dtype, '')
        and (b.machine_id <> a.machine_id or b.run_id <> a.run_id)
    left join condition as ca on ca.environment_id = a.environment_ids[1]
    left join condition as cb on cb.environment_id = b.environment_ids[1]
),
welch as (
    select
        pair.*,
        sqrt(variance + baseline_variance) as standard_error,
        case
            when variance + baseline_variance > 0 then
                (variance + baseline_variance) ^ 2 / (
                    variance ^ 2 / (launches - 1) + baseline_variance ^ 2 / (baseline_launches - 1)
                )
            -- Every launch gave the same value; any df gives the same interval of width zero.
            when variance + baseline_variance = 0 then launches + baseline_launches - 2
        end as df
    from pair
),
bounded as (
    select
        welch.*,
        report.t_quantile_975(df) * standard_error as half_width,
        case direction when 'higher' then 1 when 'lower' then -1 end as sign
    from welch
)
select
    run_id,
    machine,
    baseline,
    chip,
    baseline_chip,
    model,
    suite,
    case_key,
    metric,
    unit,
    estimate,
    baseline_estimate,
    case when differences = '{}' then exp(log_ratio) end as ratio,
    case when differences = '{}' then exp(log_ratio - half_width) end as ci_low,
    case when differences = '{}' then exp(log_ratio + half_width) end as ci_high,
    case
        when differences <> '{}' or sign is null then null
        when half_width is null then 'inconclusive'
        when sign * log_ratio - half_width > ln(1.02) then
            case
                when unit = 'bytes' then case sign when 1 then 'larger' else 'smaller' end
                when unit ~ '/s$' or unit in ('s', 'ms', 'µs', 'ns') then 'faster'
                else 'better'
            end
        when sign * log_ratio + half_width < -ln(1.02) then
            case
                when unit = 'bytes' then case sign when 1 then 'smaller' else 'larger' end
                when unit ~ '/s$' or unit in ('s', 'ms', 'µs', 'ns') then 'slower'
                else 'worse'
            end
        when abs(log_ratio) + half_width <= ln(1.02) then 'equivalent'
        else 'inconclusive'
    end as verdict,
    differences,
    tainted,
    launches,
    baseline_launches,
    direction,
    df,
    dtype,
    quantisation,
    baseline_quantisation,
    model_source,
    model_id,
    model_digest,
    baseline_model_digest,
    machine_id,
    baseline_id,
    label,
    baseline_run_id
from bounded;
comment on view report.pair is
    'One row per ordered pair of numbers of one case and metric, from two machines, two runs or both: ratio, 95 % Welch interval, verdict. Name the runs that you ask of: all pairs are the square of everything.';
comment on column report.pair.run_id is 'the run that is judged';
comment on column report.pair.baseline_run_id is 'the run that it is judged against; the same where two machines of one run are';
comment on column report.pair.machine is 'the machine that is judged';
comment on column report.pair.estimate is 'the machine''s estimate, in unit';
comment on column report.pair.ratio is 'machine''s value over the baseline''s (whichever way is better); NULL where differences says why';
comment on column report.pair.ci_low is 'lower end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.pair.ci_high is 'upper end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.pair.verdict is 'faster or slower by more than 2 % (smaller or larger of bytes, better or worse of what is neither rate nor time), equivalent within 2 %, or inconclusive, by the whole interval and without correction for many comparisons; NULL for neutral metrics and where differences is not empty';
comment on column report.pair.launches is 'launches of the machine';
comment on column report.pair.tainted is 'a side was measured under doubtful conditions';
