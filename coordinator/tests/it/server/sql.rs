//! SQL for everybody: exact answers, and no way to anything but the views.

use tonic::Code;

use super::fake_agent::join;
use super::world::World;

#[expect(clippy::unnecessary_wraps, reason = "a value that is not NULL")]
fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[tokio::test]
async fn names_come_in_order_even_twice_and_without_a_row() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    let rows = operator
        .query("select 2 as b, null as a, 'x' as b, array[1, 2], 1.50, true")
        .await;
    let names = ["b", "a", "b", "array", "?column?", "?column?"]
        .map(text)
        .to_vec();
    let values = vec![
        text("2"),
        None,
        text("x"),
        text("{1,2}"),
        text("1.50"),
        text("t"),
    ];
    let types = ["int4", "text", "text", "int4[]", "numeric", "bool"]
        .map(text)
        .to_vec();
    assert_eq!(rows.unwrap(), [names, types, values]);
    let rows = operator
        .query("select run_id, plan from report.run where false")
        .await
        .unwrap();
    let head = [["run_id", "plan"], ["uuid", "text"]].map(|row| row.map(text).to_vec());
    assert_eq!(rows, head);
    let rows = operator
        .query("select machine from report.machine;")
        .await
        .unwrap();
    assert_eq!(rows[2], [text("mini")]);
}

#[tokio::test]
async fn a_statement_that_postgres_refuses_is_answered_in_its_words() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let refused = operator
        .query("select plann from report.run")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused
            .message()
            .contains("column \"plann\" does not exist"),
        "{refused}"
    );
    assert!(refused.message().contains("(at character 8)"), "{refused}");
    let fails_late = "select 1 / (3 - i) from generate_series(1, 9) as i";
    let refused = operator.query(fails_late).await.unwrap_err();
    assert!(refused.message().contains("division by zero"), "{refused}");
    let long = "select i from generate_series(1, 200000) as i";
    assert_eq!(
        operator.query(long).await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    assert_eq!(
        operator.query("  ").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn nothing_but_the_views_can_be_read_and_nothing_written() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    for statement in [
        "select * from fleet.token",
        "select 1; select 2",
        "commit; select 1",
        "create table t (i integer)",
        "create temporary table t (i integer)",
        "delete from report.machine",
        "select pg_read_file('/etc/hostname')",
        "set role fleet",
        // The same session must not become somebody else within the statement.
        "select set_config('role', 'none', true), query_to_xml('select * from fleet.token', true, true, '')",
        "select set_config('session_authorization', 'fleet', true)",
        "copy (select 1) to program 'true'",
        "copy (select 1) to stdout",
        "copy t from stdin",
    ] {
        let refused = operator.query(statement).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{statement}: {refused}"
        );
    }
    // Lifting the read-only transaction by itself still leaves a login without rights.
    let lifted = "select set_config('transaction_read_only', 'off', true)";
    drop(operator.query(lifted).await);
    let rows = operator
        .query("select current_user, session_user")
        .await
        .unwrap();
    assert_eq!(rows[2][0], rows[2][1]);
    assert!(
        rows[2][0]
            .as_ref()
            .unwrap()
            .starts_with("mlx_fleet_reader_"),
        "{rows:?}"
    );
    let super_user = "select rolsuper or rolcreaterole from pg_roles where rolname = current_user";
    assert_eq!(operator.query(super_user).await.unwrap()[2], [text("f")]);
}

/// What a statement could do to the server and to others without reading a table.
#[tokio::test]
async fn a_reader_cannot_leave_its_role_write_anywhere_or_run_anything() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    for statement in [
        "reset role",
        "set session authorization default",
        "select set_config('role', 'postgres', false)",
        "do $$ begin perform 1; end $$",
        "select lo_import('/etc/hostname')",
        "select lo_from_bytea(0, 'x')",
        "select lo_export(1, '/tmp/x')",
        "select pg_read_binary_file('/etc/hostname')",
        "select pg_ls_dir('/')",
        "select pg_stat_file('/etc/hostname')",
        "select * from dblink('dbname=postgres', 'select 1') as t (i integer)",
        "select pg_reload_conf()",
        "select pg_rotate_logfile()",
        "select pg_switch_wal()",
        "select pg_create_restore_point('x')",
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
        "select pg_cancel_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
        "select set_config('log_statement', 'none', false)",
        "select set_config('temp_file_limit', '-1', true)",
        "select set_config('session_preload_libraries', 'x', false)",
        "alter role current_user superuser",
        "create extension dblink",
        "explain analyze insert into fleet.event (kind) values ('x')",
        "with gone as (delete from fleet.token returning *) select * from gone",
        "select * from pg_authid",
        "select query_to_xml('select * from fleet.setting', true, true, '')",
        "lock table fleet.run",
        "listen fleet_wake",
        "notify fleet_wake",
        "prepare p as select 1",
        "table fleet.certificate",
        "vacuum",
    ] {
        let refused = operator.query(statement).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{statement}: {refused}"
        );
    }
    let tables = "select count(*) from pg_class where relnamespace = 'fleet'::regnamespace
                  and has_table_privilege(oid, 'select, insert, update, delete') and relkind = 'r'";
    assert_eq!(operator.query(tables).await.unwrap()[2], [text("0")]);
    let made = "select count(*) from pg_largeobject_metadata";
    assert_eq!(world.number(made).await, 0);
}

#[tokio::test]
async fn a_reader_that_holds_locks_holds_up_neither_enrolments_nor_a_start() {
    let mut world = World::start().await;
    let mut operator = world.operator().await;
    let names = ["enrolment", "reader", "migrate"]
        .map(|name| format!("pg_advisory_lock_shared(hashtext('mlx_fleet.{name}'))"));
    let hold = format!("select {}, pg_sleep(20)", names.join(", "));
    let mut holder = operator.clone();
    let held = tokio::task::JoinSet::from_iter([async move { holder.query(&hold).await }]);
    let holders =
        "select count(distinct objid) from pg_locks where locktype = 'advisory' and granted";
    world.until("the reader holds its locks", holders, 3).await;
    join(&world, &mut operator, "mini").await;
    world.down().await;
    world.up().await;
    assert_eq!(
        world.number(holders).await,
        3,
        "they were held all the time"
    );
    drop(held);
}

#[tokio::test]
async fn a_statement_ends_with_its_reader_and_a_giant_row_is_refused() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mut reader = operator.clone();
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { reader.query("select 'gone', pg_sleep(25)").await });
    let asleep = "select count(*) from pg_stat_activity
                  where application_name = 'mlx-fleet sql' and query like 'select ''gone''%'";
    world.until("it sleeps", asleep, 1).await;
    waiting.shutdown().await;
    world.until("nobody waits for it any more", asleep, 0).await;

    let giant = operator
        .query("select repeat('x', 5000000)")
        .await
        .unwrap_err();
    assert_eq!(giant.code(), Code::InvalidArgument, "{giant}");
    assert!(giant.message().contains("a row has more than"), "{giant}");
    let settings = "select current_setting('temp_file_limit')";
    assert_eq!(operator.query(settings).await.unwrap()[2], [text("2GB")]);
}
