-- Postgres has no Student t. Its 0.975 quantile's log is smooth in 1/df, so 65 values of it, evenly
-- spaced from df = infinity to df = 1, give any df in between, whole or not (Welch's is not), by cubic
-- interpolation to eight digits.
create function report.t_quantile_975(df double precision) returns double precision
language plpgsql immutable strict parallel safe
as $$
declare
    -- Where four neighbouring values begin, at the ends the outermost four, and the place among them.
    first integer;
    p double precision;
    ln_t double precision[];
begin
    if df < 1 then
        return null;
    end if;
    first := least(greatest(floor(64 / df)::integer - 1, 0), 61);
    p := 64 / df - first;
    -- Only the four are copied into a variable, once for each call.
    ln_t := (array[
        0.672926098, 0.692011363, 0.711445414, 0.731231223, 0.751371418, 0.771868271, 0.792723704, 0.813939281,
        0.835516215, 0.857455364, 0.879757237, 0.902421998, 0.925449471, 0.948839143, 0.972590177, 0.996701410,
        1.021171370, 1.045998281, 1.071180073, 1.096714391, 1.122598613, 1.148829852, 1.175404978, 1.202320625,
        1.229573207, 1.257158931, 1.285073813, 1.313313691, 1.341874240, 1.370750986, 1.399939321, 1.429434519,
        1.459231746, 1.489326080, 1.519712520, 1.550385998, 1.581341398, 1.612573563, 1.644077307, 1.675847429,
        1.707878721, 1.740165980, 1.772704014, 1.805487657, 1.838511768, 1.871771247, 1.905261039, 1.938976137,
        1.972911594, 2.007062522, 2.041424102, 2.075991583, 2.110760290, 2.145725625, 2.180883070, 2.216228190,
        2.251756633, 2.287464134, 2.323346516, 2.359399687, 2.395619646, 2.432002480, 2.468544366, 2.505241566,
        2.542090436
    ]::double precision[])[first + 1:first + 4];
    return exp(
        - ln_t[1] * (p - 1) * (p - 2) * (p - 3) / 6
        + ln_t[2] * p * (p - 2) * (p - 3) / 2
        - ln_t[3] * p * (p - 1) * (p - 3) / 2
        + ln_t[4] * p * (p - 1) * (p - 2) / 6
    );
end
$$;
comment on function report.t_quantile_975(double precision) is
    'The 0.975 quantile of Student''s t, for intervals of 95 %; df from 1 up, NULL below.';
