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
