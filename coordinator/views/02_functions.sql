-- What several views say alike, said once.

-- In plpgsql, which keeps its plan: as SQL it would be started anew for each of a million rows.
create function report.distinct_sorted(texts text[]) returns text[]
language plpgsql immutable parallel safe
as $$
begin
    if cardinality(texts) < 2 then
        return texts;
    end if;
    return array(select distinct unnest(texts) order by 1);
end
$$;
comment on function report.distinct_sorted(text[]) is 'The array''s members once each, in order.';

create aggregate report.concat_agg(text[]) (
    sfunc = array_cat, stype = text[], initcond = '{}', parallel = safe, combinefunc = array_cat
);
comment on aggregate report.concat_agg(text[]) is 'All members of all arrays, one after another.';

create function report.case_parameter(case_key text, parameter text) returns text
language sql immutable strict parallel safe
return substring(case_key from '(?:^|,)' || parameter || '=([^,]*)');
comment on function report.case_parameter(text, text) is
    'A parameter out of a case key: case_parameter(''new=128,depth=512'', ''depth'') is ''512''. To compute, take case_number.';

-- A cast could not be kept from the rows that a query leaves out: Postgres filters in the order it likes,
-- and some suites have parameters of words (prompt=code).
create function report.case_number(case_key text, parameter text) returns double precision
language sql immutable strict parallel safe
return substring(case_key from '(?:^|,)' || parameter || '=([0-9]+(?:\.[0-9]+)?)(?:,|$)')::double precision;
comment on function report.case_number(text, text) is
    'A parameter out of a case key as a number: case_number(''new=128,depth=512'', ''depth'') is 512; NULL where it is none.';

create function report.nax_expected(os text, os_version text, architecture text) returns boolean
language sql immutable strict parallel safe
begin atomic
    -- MLX's own rule: macOS 26.2, and the 17th generation of GPUs, of phones' (p) the 18th.
    select
        os = 'macos'
        and coalesce(
            string_to_array(substring(os_version from '^[0-9]+(?:\.[0-9]+)*'), '.')::integer[]
                >= '{26,2}',
            false
        )
        and coalesce(
            substring(architecture from '^applegpu_g([0-9]+)')::integer
                >= case when architecture ~ 'p$' then 18 else 17 end,
            false
        );
end;
comment on function report.nax_expected(text, text, text) is
    'Whether MLX would use the GPU''s matrix units on this system, if its kernels were built for them.';

create function report.model_limit_bytes(
    os text, memory_bytes bigint, wired_limit_bytes bigint
) returns bigint
language sql immutable parallel safe
-- The rule by which plans skip what would not fit; integers, as there.
return nullif(coalesce(
    wired_limit_bytes,
    case
        when os = 'macos' and memory_bytes <= 36000000000 then memory_bytes / 3 * 2
        when os = 'macos' then memory_bytes / 4 * 3
        else memory_bytes
    end
), 0) / 10 * 9;
comment on function report.model_limit_bytes(text, bigint, bigint) is
    'The most bytes that a model with its cache may take on a machine: nine tenths of what the GPU may keep resident, or of the memory where there is no such limit; NULL where neither is known.';

create function report.sensor_unit(sensor text) returns text
language sql immutable strict parallel safe
return case
    when sensor ~ '_bytes$' then 'bytes'
    when sensor ~ '_power_w$' then 'W'
    when sensor ~ '_mhz$' then 'MHz'
    when sensor ~ '_ratio$' then 'ratio'
    when sensor ~ '_temp_c$' then '°C'
    when sensor ~ '_rpm$' then 'rpm'
    else 'level'
end;
comment on function report.sensor_unit(text) is 'The unit of a sensor''s values, from the last word of its name.';

create function report.order_statistic(
    sorted double precision[], p double precision,
    out value double precision, out low double precision, out high double precision
)
language sql immutable parallel safe
begin atomic
    select
        sorted[least(greatest(ceil(rank - 1e-9), 1), n)::integer],
        sorted[least(greatest(floor(rank - spread), 1), n)::integer],
        sorted[least(greatest(ceil(rank + spread) + 1, 1), n)::integer]
    from (
        select
            cardinality(sorted) as n,
            cardinality(sorted) * p as rank,
            1.96 * sqrt(cardinality(sorted) * p * (1 - p)) as spread
    ) as place
    -- The product, not the quotient: 20 / (1 - 0.9) is a hair above 200 in binary.
    where n * (1 - p) >= 20 - 1e-9;
end;
comment on function report.order_statistic(double precision[], double precision) is
    'The p-quantile of a sorted array by nearest rank with its 95 % order-statistic interval; NULL of fewer than 20 / (1 - p) values.';
