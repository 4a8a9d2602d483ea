-- A case's numbers against the same case's numbers on another machine, in another run, or both, only where
-- everything else is equal. Where it is not, the row says what differs and gives no number.
--
-- Every ordered pair is a row. The margin is 2 % on a log scale, the same seen from either side. Each
-- verdict is by its own interval, without correction for how many are asked at once; reports correct by
-- Holm. report.comparison is the part of it that most ask for.
--
-- `offset 0` keeps what is computed once per pair from being put in, and computed, wherever it is named.
create view report.pair as
select
    a.run_id,
    a.machine,
    b.machine as baseline,
    a.chip,
    b.chip as baseline_chip,
    a.model,
    a.suite,
    a.case_key,
    a.metric,
    a.unit,
    a.estimate,
    b.estimate as baseline_estimate,
    case when allowed.yes then exp(welch.log_ratio) end as ratio,
    case when allowed.yes then exp(welch.log_ratio - welch.half_width) end as ci_low,
    case when allowed.yes then exp(welch.log_ratio + welch.half_width) end as ci_high,
    case
        when not allowed.yes or welch.sign is null then null
        when welch.half_width is null then 'inconclusive'
        when welch.sign * welch.log_ratio - welch.half_width > ln(1.02) then
            case
                when a.unit = 'bytes' then case welch.sign when 1 then 'larger' else 'smaller' end
                when a.unit ~ '/s$' or a.unit in ('s', 'ms', 'µs', 'ns') then 'faster'
                else 'better'
            end
        when welch.sign * welch.log_ratio + welch.half_width < -ln(1.02) then
            case
                when a.unit = 'bytes' then case welch.sign when 1 then 'smaller' else 'larger' end
                when a.unit ~ '/s$' or a.unit in ('s', 'ms', 'µs', 'ns') then 'slower'
                else 'worse'
            end
        when abs(welch.log_ratio) + welch.half_width <= ln(1.02) then 'equivalent'
        else 'inconclusive'
    end as verdict,
    case when allowed.yes then '{}'::text[] else array_remove(array[
        -- A suite about the machine itself has no weights to differ; another's must be known.
        case when a.model_source is not null
            and (a.model_digest = b.model_digest) is not true then 'model_digest' end,
        case when a.quantisation is distinct from b.quantisation then 'quantisation' end,
        case when a.simulated <> b.simulated then 'simulated' end,
        case when a.label <> b.label then 'label' end,
        case when a.protocol <> b.protocol then 'protocol' end,
        -- Under which conditions others measured is not known here.
        case when 'imported' in (a.label, b.label) then 'imported' end,
        case when a.environment_id is null or b.environment_id is null
            then 'environment_unknown' end,
        -- Numbers of one case from before and after an update are no one number.
        case when a.environment_changed or b.environment_changed then 'environment_changed' end,
        case when a.os_major is distinct from b.os_major then 'os_major' end,
        case when a.mlx_version is distinct from b.mlx_version then 'mlx_version' end,
        case when a.mlx_device is distinct from b.mlx_device then 'mlx_device' end,
        case when a.agent_version is distinct from b.agent_version then 'agent_version' end,
        case when a.agent_commit is distinct from b.agent_commit then 'agent_commit' end,
        case when a.suite_version is distinct from b.suite_version then 'suite_version' end,
        case when a.suite_commit is distinct from b.suite_commit then 'suite_commit' end,
        case when a.nax_built is distinct from b.nax_built then 'nax_built' end,
        case when a.nax_expected is distinct from b.nax_expected then 'nax_expected' end,
        case when a.blas is distinct from b.blas then 'blas' end,
        case when a.mlx_env is distinct from b.mlx_env then 'mlx_env' end,
        case when not a.valid then 'invalid' end,
        case when not b.valid then 'baseline_invalid' end,
        case when not (a.on_logs and b.on_logs) then 'not_positive' end
    ], null) end as differences,
    a.tainted or b.tainted as tainted,
    a.launches,
    b.launches as baseline_launches,
    a.direction,
    welch.df,
    a.dtype,
    a.quantisation,
    b.quantisation as baseline_quantisation,
    a.model_source,
    a.model_id,
    a.model_digest,
    b.model_digest as baseline_model_digest,
    a.machine_id,
    b.machine_id as baseline_id,
    a.label,
    b.run_id as baseline_run_id
from report.comparable as a
join report.comparable as b
    on b.suite = a.suite
    and b.case_key = a.case_key
    and b.metric = a.metric
    -- Not by name: weights keep the one that they first came under. Written so that NULL, which a
    -- suite about the machine has, equals NULL and the join can hash it.
    and coalesce(b.model_source, '') = coalesce(a.model_source, '')
    and coalesce(b.dtype, '') = coalesce(a.dtype, '')
    and (b.machine_id <> a.machine_id or b.run_id <> a.run_id)
cross join lateral (
    select coalesce(a.comparable_as = b.comparable_as, false) as yes offset 0
) as allowed
cross join lateral (
    select
        a.location_mean - b.location_mean as log_ratio,
        a.location_sd ^ 2 / a.launches as variance,
        b.location_sd ^ 2 / b.launches as baseline_variance
    offset 0
) as side
cross join lateral (
    select
        case
            when side.variance + side.baseline_variance > 0 then
                (side.variance + side.baseline_variance) ^ 2 / (
                    side.variance ^ 2 / (a.launches - 1) + side.baseline_variance ^ 2 / (b.launches - 1)
                )
            -- Every launch gave the same value; any df gives the same interval of width zero.
            when side.variance + side.baseline_variance = 0 then a.launches + b.launches - 2
        end as df
    offset 0
) as freedom
cross join lateral (
    select
        side.log_ratio,
        freedom.df,
        report.t_quantile_975(freedom.df) * sqrt(side.variance + side.baseline_variance) as half_width,
        case a.direction when 'higher' then 1 when 'lower' then -1 end as sign
    offset 0
) as welch;
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
