-- More of what views would compute again and again is kept from the moment that a launch counts, as
-- fleet.launch_metric is: each case's numbers over its launches, a launch's measured iterations as a
-- whole, and what the power sensors read beneath them. Nothing is here that does not follow from samples,
-- iterations and readings: fleet.summarise_launches makes it again, and it goes with what it is of.

-- A case as one run measured it on one machine: what its launches have in common.
create table fleet.measured_case (
    -- The hash of the rest.
    case_id uuid primary key,
    run_id uuid not null references fleet.run on delete cascade,
    machine_id uuid not null references fleet.machine,
    suite text not null,
    case_key text not null,
    model_source text,
    model_id bigint references fleet.model,
    model text not null,
    dtype text
);

create index measured_case_of_run on fleet.measured_case (run_id);
create index measured_case_of_machine on fleet.measured_case (machine_id);

create view fleet.launch_case as
select
    launch_id,
    md5(row(run_id, machine_id, suite, case_key, model_source, model_id, model, dtype)::text)::uuid
        as case_id,
    run_id, machine_id, suite, case_key, model_source, model_id, model, dtype
from (
    select
        launch.launch_id,
        job.run_id,
        lease.machine_id,
        job.suite,
        launch.case_key,
        job.model_source,
        launch.model_id,
        coalesce(model.label, job.model_label) as model,
        coalesce(model.dtype, job.dtype) as dtype
    from fleet.launch
    join fleet.job using (job_id)
    join fleet.lease on lease.lease_id = launch.lease_id
    left join fleet.model using (model_id)
) as launched;

alter table fleet.launch_metric add column case_id uuid references fleet.measured_case;
create index launch_metric_of_case on fleet.launch_metric (case_id);

create table fleet.case_metric (
    case_id uuid not null references fleet.measured_case on delete cascade,
    metric text not null references fleet.metric,
    launches bigint not null,
    iterations bigint not null,
    min double precision not null,
    max double precision not null,
    max_median double precision not null,
    -- Mean and deviation are of the logs of the launches' medians where all have one, else of the medians.
    on_logs boolean not null,
    mean double precision not null,
    sd double precision,
    -- Of the medians, standard deviation over mean; of one launch there is none.
    cv double precision,
    started_at timestamptz not null,
    environment_ids text[],
    reasons text[] not null,
    -- Of each launch in doubt the codes, joined by commas.
    doubted text[] not null,
    primary key (case_id, metric)
);

create function fleet.summarise_metrics(launch_ids uuid[]) returns void
language plpgsql
as $$
begin
    insert into fleet.measured_case (
        case_id, run_id, machine_id, suite, case_key, model_source, model_id, model, dtype
    )
    select distinct case_id, run_id, machine_id, suite, case_key, model_source, model_id, model, dtype
    from fleet.launch_case
    where launch_id = any(launch_ids)
    on conflict do nothing;

    insert into fleet.launch_metric (
        launch_id, metric, case_id, median, min, max, iterations, within_cv, reasons
    )
    select
        launch_id, metric, case_id, median, min, max, iterations, within_cv,
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
    join fleet.launch_case using (launch_id)
    on conflict (launch_id, metric) do update
    set
        case_id = excluded.case_id, median = excluded.median, min = excluded.min, max = excluded.max,
        iterations = excluded.iterations, within_cv = excluded.within_cv,
        reasons = excluded.reasons;
end
$$;

create function fleet.summarise_cases(case_ids uuid[]) returns void
language plpgsql
as $$
begin
    -- Whoever summarises one of them at the same time sees what this has seen, or waits for it.
    perform from fleet.measured_case where case_id = any(case_ids) order by case_id for no key update;

    insert into fleet.case_metric (
        case_id, metric, launches, iterations, min, max, max_median, on_logs, mean, sd, cv, started_at,
        environment_ids, reasons, doubted
    )
    select
        case_id, metric, launches, iterations, min, max, max_median, on_logs,
        case when on_logs then log_mean else plain_mean end,
        case when on_logs then log_sd else plain_sd end,
        plain_sd / nullif(abs(plain_mean), 0),
        started_at,
        case when environment_ids is not null
            then array(select distinct unnest(environment_ids) order by 1)
        end,
        array(select distinct unnest(string_to_array(array_to_string(doubted, ','), ',')) order by 1),
        doubted
    from (
        select
            kept.case_id,
            kept.metric,
            count(*) as launches,
            sum(kept.iterations)::bigint as iterations,
            min(kept.min) as min,
            max(kept.max) as max,
            max(kept.median) as max_median,
            min(kept.median) > 0 as on_logs,
            avg(ln(kept.median)) filter (where kept.median > 0) as log_mean,
            stddev_samp(ln(kept.median)) filter (where kept.median > 0) as log_sd,
            avg(kept.median) as plain_mean,
            stddev_samp(kept.median) as plain_sd,
            min(launch.started_at) as started_at,
            array_agg(launch.environment_id) filter (where launch.environment_id is not null)
                as environment_ids,
            coalesce(
                array_agg(array_to_string(launch.reasons || kept.reasons, ','))
                    filter (where launch.reasons <> '{}' or kept.reasons <> '{}'),
                '{}'
            ) as doubted
        from fleet.launch_metric as kept
        join fleet.launch using (launch_id)
        where kept.case_id = any(case_ids) and launch.counted
        group by kept.case_id, kept.metric
    ) as measured
    on conflict (case_id, metric) do update
    set
        launches = excluded.launches, iterations = excluded.iterations, min = excluded.min,
        max = excluded.max, max_median = excluded.max_median, on_logs = excluded.on_logs,
        mean = excluded.mean, sd = excluded.sd, cv = excluded.cv, started_at = excluded.started_at,
        environment_ids = excluded.environment_ids, reasons = excluded.reasons,
        doubted = excluded.doubted;

    delete from fleet.case_metric
    where case_id = any(case_ids)
        and not exists (select from fleet.launch_metric as kept where kept.case_id = case_metric.case_id);
end
$$;

create table fleet.launch_region (
    launch_id uuid not null references fleet.launch on delete cascade,
    mode text not null,
    machine_id uuid not null references fleet.machine,
    iterations bigint not null,
    region_s double precision not null,
    work bigint not null,
    -- Times between tokens.
    gaps bigint not null,
    began_at timestamptz not null,
    ended_at timestamptz not null,
    -- A doubt as often as iterations have it; those about the launch stand in its row.
    doubts text[] not null,
    -- The hashes of what was written, each once and in order.
    texts text[] not null,
    primary key (launch_id, mode)
);

-- Which regions a reading can lie in.
create index launch_region_of_machine on fleet.launch_region (machine_id, ended_at);

create table fleet.launch_power (
    launch_id uuid not null,
    mode text not null,
    sensor text not null,
    covered_s double precision not null,
    covered_j double precision not null,
    max_w double precision not null,
    intervals bigint not null,
    primary key (launch_id, mode, sensor),
    foreign key (launch_id, mode) references fleet.launch_region on delete cascade
);

create function fleet.summarise_regions(launch_ids uuid[]) returns void
language plpgsql
as $$
begin
    insert into fleet.launch_region (
        launch_id, mode, machine_id, iterations, region_s, work, gaps, began_at, ended_at, doubts, texts
    )
    select
        launch.launch_id,
        iteration.mode,
        lease.machine_id,
        count(*),
        sum(iteration.duration_ns)::double precision / 1e9,
        sum(iteration.work)::bigint,
        sum(greatest(cardinality(iteration.token_ns) - 1, 0)),
        min(launch.started_at + iteration.started_us * interval '1 microsecond'),
        max(
            launch.started_at
                + (iteration.started_us + iteration.duration_ns / 1000.0) * interval '1 microsecond'
        ),
        -- Codes hold no comma.
        coalesce(
            string_to_array(
                string_agg(array_to_string(iteration.reasons, ','), ',')
                    filter (where iteration.reasons <> '{}'),
                ','
            ),
            '{}'
        ),
        coalesce(
            array_agg(distinct iteration.token_ids_sha256 order by iteration.token_ids_sha256)
                filter (where iteration.token_ids_sha256 <> ''),
            '{}'
        )
    from fleet.launch
    join fleet.lease on lease.lease_id = launch.lease_id
    join fleet.iteration on iteration.launch_id = launch.launch_id
    where launch.launch_id = any(launch_ids) and iteration.phase = 'measured'
    group by launch.launch_id, iteration.mode, lease.machine_id
    on conflict (launch_id, mode) do update
    set
        iterations = excluded.iterations, region_s = excluded.region_s, work = excluded.work,
        gaps = excluded.gaps, began_at = excluded.began_at, ended_at = excluded.ended_at, doubts = excluded.doubts,
        texts = excluded.texts;
end
$$;

-- The trapezoid under each power sensor within each iteration and not between them, where readings are
-- no further apart than 3 s.
create function fleet.summarise_power(launch_ids uuid[]) returns void
language plpgsql
as $$
begin
    insert into fleet.launch_power (launch_id, mode, sensor, covered_s, covered_j, max_w, intervals)
    select region.launch_id, region.mode, power.*
    from fleet.launch_region as region
    cross join lateral (
        select
            sensor,
            sum(overlap_s),
            sum(overlap_s * mean_w),
            max(max_w),
            count(*)
        from (
            select
                step.sensor,
                (value + before_value) / 2 as mean_w,
                greatest(value, before_value) as max_w,
                date_part('epoch', least(at, stopped_at) - greatest(before_at, span.started_at))
                    as overlap_s
            from (
                select
                    sensor, at, value,
                    lag(at) over series as before_at,
                    lag(value) over series as before_value
                from fleet.reading
                where reading.machine_id = region.machine_id
                    and sensor in ('gpu_power_w', 'cpu_power_w', 'sys_power_w')
                    and at between region.began_at - interval '3 seconds'
                        and region.ended_at + interval '3 seconds'
                window series as (partition by sensor order by at)
            ) as step
            join (
                select
                    launch.started_at + started_us * interval '1 microsecond' as started_at,
                    launch.started_at + (started_us + duration_ns / 1000.0) * interval '1 microsecond'
                        as stopped_at
                from fleet.launch
                join fleet.iteration using (launch_id)
                where launch.launch_id = region.launch_id
                    and iteration.phase = 'measured'
                    and iteration.mode = region.mode
            ) as span on at > span.started_at and before_at < stopped_at
            where at - before_at <= interval '3 seconds'
        ) as part
        group by sensor
    ) as power
    where region.launch_id = any(launch_ids)
    on conflict (launch_id, mode, sensor) do update
    set
        covered_s = excluded.covered_s, covered_j = excluded.covered_j, max_w = excluded.max_w,
        intervals = excluded.intervals;
end
$$;

create or replace function fleet.summarise_launches(launch_ids uuid[]) returns void
language plpgsql
as $$
declare
    -- What a launch is of is known only with its model.
    left_behind uuid[] := array(
        select distinct case_id
        from fleet.launch_metric
        where launch_id = any(launch_ids) and case_id is not null
    );
begin
    perform fleet.summarise_metrics(launch_ids);
    perform fleet.summarise_cases(array(
        select case_id from fleet.launch_metric where launch_id = any(launch_ids)
        union
        select unnest(left_behind)
    ));
    perform fleet.summarise_regions(launch_ids);
    perform fleet.summarise_power(launch_ids);
end
$$;

-- What a launch counts for may be known only after it counts.
drop trigger a_launch_that_counts_is_summarised on fleet.launch;
create trigger a_launch_that_counts_is_summarised
after update of counted, model_id, environment_id, reasons on fleet.launch
for each row when (
    new.counted and (old.counted, old.model_id, old.environment_id, old.reasons)
        is distinct from (true, new.model_id, new.environment_id, new.reasons)
)
execute function fleet.summarise_counted_launch();

-- A launch's last readings come after its end, and late ones whenever the network lets them.
create function fleet.summarise_power_beside_readings() returns trigger
language plpgsql
as $$
begin
    perform fleet.summarise_power(array(
        select region.launch_id
        from (
            select machine_id, min(at) as first_at, max(at) as last_at
            from told
            where sensor in ('gpu_power_w', 'cpu_power_w', 'sys_power_w')
            group by machine_id
        ) as series
        join fleet.launch_region as region
            on region.machine_id = series.machine_id
            and region.ended_at >= series.first_at - interval '3 seconds'
            and region.began_at <= series.last_at + interval '3 seconds'
    ));
    return null;
end
$$;

create trigger a_reading_is_in_its_launch_power
after insert on fleet.reading
referencing new table as told
for each statement
execute function fleet.summarise_power_beside_readings();

select fleet.summarise_launches(array(select launch_id from fleet.launch where counted));

-- What others have published, as the domain has it: written whole by each new version.
create table fleet.reference_result (
    engine text not null,
    source text not null,
    chip text not null,
    gpu_cores integer not null,
    model text not null,
    parameters bigint not null,
    quantisation text not null,
    weight_bytes bigint not null,
    suite text not null,
    case_key text not null,
    metric text not null references fleet.metric,
    value double precision not null,
    primary key (engine, source, chip, gpu_cores, model, quantisation, suite, case_key, metric)
);
