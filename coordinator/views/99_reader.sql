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
