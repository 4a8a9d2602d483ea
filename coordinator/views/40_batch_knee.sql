-- Where a batch stops to pay: the smallest number of sequences at which each gets less than half of what
-- it would get alone. Between two measured sizes the gain is taken as a straight line, which is what it
-- is both where sequences still cost nothing and where nothing more is to be had. One sequence alone is
-- the first point, by definition of the gain.
create view report.batch_knee as
with point as (
    select
        summary.*,
        report.case_number(case_key, 'batch') as size,
        regexp_replace(case_key, '(^|,)batch=[^,]*,?', '\1') as rest
    from report.case_summary as summary
    where suite = 'batch' and metric = 'batch_efficiency'
),
stepped as (
    select
        point.*,
        estimate < 0.5 as is_beyond,
        lag(size, 1, 1.0::double precision) over curve as size_before,
        lag(estimate, 1, 1.0::double precision) over curve as before,
        lag(ci_low, 1, 1.0::double precision) over curve as low_before,
        count(*) over whole as sizes,
        bool_and(valid) over whole as all_valid,
        bool_or(tainted) over whole as any_tainted,
        report.concat_agg(reasons) over whole as all_reasons
    from point
    window
        whole as (
            partition by run_id, machine_id, model, model_source, model_id, dtype, rest
        ),
        curve as (whole order by size)
),
-- The first size beyond the knee, or the largest where none is.
chosen as (
    select distinct on (run_id, machine_id, model, model_source, model_id, dtype, rest)
        stepped.*,
        case when is_beyond
            then (size * estimate - size_before * before) / (size - size_before)
        end as slope
    from stepped
    order by
        run_id, machine_id, model, model_source, model_id, dtype, rest,
        is_beyond desc, case when is_beyond then size else -size end
)
select
    run_id, machine, chip, model,
    rest as case_key,
    case when is_beyond then (size_before * before - slope * size_before) / (0.5 - slope) end
        as batch_knee,
    (case when is_beyond then size_before else size end)::integer as above_size,
    (case when is_beyond then size end)::integer as below_size,
    is_beyond and coalesce(low_before >= 0.5 and ci_high < 0.5, false) as clear,
    sizes,
    all_valid as valid,
    any_tainted as tainted,
    report.distinct_sorted(all_reasons) as reasons,
    dtype, quantisation, model_source, model_id, model_digest, machine_id, label
from chosen;
comment on view report.batch_knee is
    'One row per machine, model and kind of batch of a run: from which size on a sequence gets less than half of what it gets alone.';
comment on column report.batch_knee.case_key is 'the parameters that all its sizes share';
comment on column report.batch_knee.batch_knee is
    'smallest number of sequences with batch_efficiency below 0.5, interpolated; NULL where none of the sizes has';
comment on column report.batch_knee.above_size is 'largest measured size before the knee; 1 is the sequence alone';
comment on column report.batch_knee.below_size is 'smallest measured size after it; NULL where none of the sizes is';
comment on column report.batch_knee.clear is
    'the 95 % intervals of both neighbours lie on their own sides of a half';
comment on column report.batch_knee.sizes is 'batch sizes that were measured';
