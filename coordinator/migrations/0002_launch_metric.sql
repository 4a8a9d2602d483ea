-- The median of a launch's measured iterations, kept from the moment that the launch counts and in the
-- same transaction: whoever sees a launch counted sees its medians. Summaries then sort no samples.
-- Nothing is here that does not follow from them: fleet.summarise_launches makes it again.
create table fleet.launch_metric (
    launch_id uuid not null references fleet.launch,
    metric text not null references fleet.metric,
    median double precision not null,
    min double precision not null,
    max double precision not null,
    iterations bigint not null,
    -- Standard deviation over mean; of one iteration there is none.
    within_cv double precision,
    -- Doubts about single iterations, each once and in order; those about the launch stand in its row.
    reasons text[] not null,
    primary key (launch_id, metric)
);

create function fleet.summarise_launches(launch_ids uuid[]) returns void
language plpgsql
as $$
begin
    insert into fleet.launch_metric (launch_id, metric, median, min, max, iterations, within_cv, reasons)
    select
        launch_id, metric, median, min, max, iterations, within_cv,
        -- Codes hold no comma.
        array(select distinct reason from unnest(string_to_array(doubts, ',')) as reason order by reason)
    from (
        select
            iteration.launch_id,
            sample.metric,
            percentile_cont(0.5) within group (order by sample.value) as median,
            min(sample.value) as min,
            max(sample.value) as max,
            count(*) as iterations,
            stddev_samp(sample.value) / nullif(abs(avg(sample.value)), 0) as within_cv,
            string_agg(array_to_string(iteration.reasons, ','), ',')
                filter (where iteration.reasons <> '{}') as doubts
        from fleet.iteration
        join fleet.sample using (iteration_id)
        where iteration.launch_id = any(launch_ids) and iteration.phase = 'measured'
        group by iteration.launch_id, sample.metric
    ) as measured
    on conflict (launch_id, metric) do update
    set
        median = excluded.median, min = excluded.min, max = excluded.max,
        iterations = excluded.iterations, within_cv = excluded.within_cv,
        reasons = excluded.reasons;
end
$$;

create function fleet.summarise_counted_launch() returns trigger
language plpgsql
as $$
begin
    perform fleet.summarise_launches(array[new.launch_id]);
    return null;
end
$$;

-- Its last iteration comes before its end, or with it.
create trigger a_launch_that_counts_is_summarised
after update of counted on fleet.launch
for each row when (new.counted and not old.counted)
execute function fleet.summarise_counted_launch();

select fleet.summarise_launches(array(select launch_id from fleet.launch where counted));
