-- Once for both sides: the view looks at all runs.
with disputed as materialized (
    select * from report.token_identity where differs
)
select
    least(mine.machine, other.machine) as "machine!",
    greatest(mine.machine, other.machine) as "other!",
    mine.chip_family as "chip_family!",
    count(distinct mine.text_id) as "cases!",
    min(mine.suite || ' of ' || mine.model || ' in ' || mine.dtype || ' (' || mine.case_key || ')')
        as "example!"
from disputed as mine
join disputed as other
    on other.text_id = mine.text_id and other.token_ids_sha256 <> mine.token_ids_sha256
where mine.run_id = $1
group by 1, 2, 3
order by 1, 2, 3
