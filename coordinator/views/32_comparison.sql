-- Machine against machine in one run, only where everything else is equal. Where it is not, the row
-- says what differs and gives no number.
--
-- Every ordered pair is a row, so `where baseline = 'x'` is complete; to count pairs once, ask for
-- machine < baseline. The margin is 2 % on a log scale, the same seen from either side.
create view report.comparison as
with
condition as (
    -- What P30 of docs/measurement.md wants equal, one row per run and machine; several values are
    -- joined, so that a machine that changed under the run equals only one that changed alike.
    select
        run_id,
        machine_id,
        string_agg(distinct os || ' ' || split_part(os_version, '.', 1), ' + ') as os_major,
        string_agg(distinct mlx_version, ' + ') as mlx_version,
        string_agg(distinct mlx_device, ' + ') as mlx_device,
        string_agg(distinct agent_version, ' + ') as agent_version,
        string_agg(distinct suite_version, ' + ') as suite_version,
        string_agg(distinct coalesce(nax_built::text, 'unknown'), ' + ') as nax_built,
        string_agg(distinct blas, ' + ') as blas,
        string_agg(distinct knob.text, ' + ') as mlx_env
    from report.environment
    cross join lateral (
        -- The variables that change speed; folders and the like may differ.
        select coalesce(string_agg(key || '=' || value, ' ' order by key), '') as text
        from jsonb_each_text(mlx_env)
        where key in (
            'MLX_METAL_FAST_SYNCH', 'MLX_MAX_OPS_PER_BUFFER', 'MLX_MAX_MB_PER_BUFFER',
            'MLX_SDPA_BLOCKS', 'MLX_ENABLE_TF32', 'MLX_DISABLE_COMPILE', 'MLX_METAL_GPU_ARCH'
        )
    ) as knob
    group by run_id, machine_id
),
pair as (
    select
        a.run_id, a.label, a.machine, b.machine as baseline, a.chip, b.chip as baseline_chip,
        a.machine_id, b.machine_id as baseline_id,
        a.model, a.model_source, a.model_digest, a.dtype, a.quantisation,
        a.suite, a.case_key, a.metric, a.unit, a.direction,
        a.estimate, b.estimate as baseline_estimate,
        a.launches, b.launches as baseline_launches,
        a.tainted or b.tainted as tainted,
        array_remove(array[
            case when a.model_digest is distinct from b.model_digest then 'model_digest' end,
            case when a.quantisation is distinct from b.quantisation then 'quantisation' end,
            case when a.simulated <> b.simulated then 'simulated' end,
            case when ca.os_major is distinct from cb.os_major then 'os_major' end,
            case when ca.mlx_version is distinct from cb.mlx_version then 'mlx_version' end,
            case when ca.mlx_device is distinct from cb.mlx_device then 'mlx_device' end,
            case when ca.agent_version is distinct from cb.agent_version then 'agent_version' end,
            case when ca.suite_version is distinct from cb.suite_version then 'suite_version' end,
            case when ca.nax_built is distinct from cb.nax_built then 'nax_built' end,
            case when ca.blas is distinct from cb.blas then 'blas' end,
            case when ca.mlx_env is distinct from cb.mlx_env then 'mlx_env' end,
            case when not a.valid then 'invalid' end,
            case when not b.valid then 'baseline_invalid' end,
            case when not (a.on_logs and b.on_logs) then 'not_positive' end
        ], null) as differences,
        a.location_mean - b.location_mean as log_ratio,
        a.location_sd ^ 2 / a.launches as variance,
        b.location_sd ^ 2 / b.launches as baseline_variance
    from report.case_summary as a
    join report.case_summary as b
        on b.run_id = a.run_id
        and b.suite = a.suite
        and b.case_key = a.case_key
        and b.metric = a.metric
        and b.model = a.model
        and b.model_source = a.model_source
        and b.dtype is not distinct from a.dtype
        and b.machine_id <> a.machine_id
    left join condition as ca on ca.run_id = a.run_id and ca.machine_id = a.machine_id
    left join condition as cb on cb.run_id = b.run_id and cb.machine_id = b.machine_id
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
        when sign * log_ratio - half_width > ln(1.02) then 'faster'
        when sign * log_ratio + half_width < -ln(1.02) then 'slower'
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
    model_digest,
    machine_id,
    baseline_id,
    label
from bounded;
comment on view report.comparison is
    'One row per ordered pair of machines, case and metric of a run: ratio, 95 % Welch interval, verdict.';
comment on column report.comparison.machine is 'the machine that is judged';
comment on column report.comparison.baseline is 'the machine that it is judged against';
comment on column report.comparison.baseline_chip is 'the baseline''s chip';
comment on column report.comparison.estimate is 'the machine''s estimate, in unit';
comment on column report.comparison.baseline_estimate is 'the baseline''s estimate, in unit';
comment on column report.comparison.ratio is 'machine''s value over the baseline''s (whichever way is better); NULL where differences says why';
comment on column report.comparison.ci_low is 'lower end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.comparison.ci_high is 'upper end of the ratio''s 95 % interval; NULL with fewer than two launches on a side';
comment on column report.comparison.verdict is 'faster or slower by more than 2 %, equivalent within 2 %, or inconclusive, by the whole interval, in the direction that is better; NULL for neutral metrics and where differences is not empty';
comment on column report.comparison.differences is 'what must be equal and is not (or a side''s invalid numbers): with any, there is no ratio';
comment on column report.comparison.df is 'Welch''s degrees of freedom';
comment on column report.comparison.launches is 'launches of the machine';
comment on column report.comparison.baseline_launches is 'launches of the baseline';
comment on column report.comparison.baseline_id is 'the baseline''s machine_id';
comment on column report.comparison.tainted is 'a side was measured under doubtful conditions';
