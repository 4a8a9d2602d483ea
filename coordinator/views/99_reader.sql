-- The role that users and report-gen query as: it reads the views and nothing else. Roles belong to
-- the whole server, so another fleet's database on it may be making the same role at this moment.
do $$
begin
    if not exists (select from pg_roles where rolname = 'report_reader') then
        create role report_reader nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        raise insufficient_privilege using
            message = format('user %I may not create the role report_reader', current_user),
            hint = 'Let an administrator of the server run: create role report_reader nologin';
end
$$;

-- Who runs the views must be able to become the reader; a superuser is already.
do $$
begin
    if not pg_has_role(current_user, 'report_reader', 'member') then
        execute format('grant report_reader to %I', current_user);
    end if;
exception
    when insufficient_privilege then
        raise insufficient_privilege using
            message = format('user %I is no member of the role report_reader', current_user),
            hint = format('Let an administrator of the server run: grant report_reader to %I', current_user);
end
$$;

revoke all on schema fleet from public;
grant usage on schema report to report_reader;
grant select on all tables in schema report to report_reader;
grant execute on all functions in schema report to report_reader;

-- What a reader has no use for and everybody may call: to write large objects, which even a read-only
-- transaction may, and to end others' statements. Only a superuser can take it from everybody; a database
-- of somebody else's stays as it is.
do $$
declare
    useless regprocedure;
begin
    for useless in
        select oid
        from pg_proc
        where pronamespace = 'pg_catalog'::regnamespace
            and proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate',
                            'lo_truncate64', 'lowrite', 'pg_cancel_backend', 'pg_terminate_backend')
            and has_function_privilege('public', oid, 'execute')
            and (select rolsuper from pg_roles where rolname = current_user)
    loop
        execute format('revoke execute on function %s from public', useless);
    end loop;
end
$$;
