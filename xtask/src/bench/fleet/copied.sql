-- The tables that uploads fill, empty, with the columns, defaults, checks and indexes of the first, and its
-- foreign keys: those among them to their copies, the others to what is there.
create schema copied;

do $$
declare
    tables constant text[] := array[
        'batch', 'launch', 'heat', 'iteration', 'sample', 'launch_metric', 'reading'
    ];
    name text;
    one record;
begin
    foreach name in array tables loop
        execute format('create table copied.%I (like fleet.%I including all)', name, name);
    end loop;
    for one in
        select
            relname,
            regexp_replace(
                pg_get_constraintdef(pg_constraint.oid),
                'fleet\.(' || array_to_string(tables, '|') || ')\y',
                'copied.\1'
            ) as definition
        from pg_constraint
        join pg_class on pg_class.oid = conrelid
        where contype = 'f'
            and connamespace = 'fleet'::regnamespace
            and relname = any(tables)
    loop
        execute format('alter table copied.%I add %s', one.relname, one.definition);
    end loop;
end
$$;
