//! What P30 wants equal, changed one by one on one machine of the seeded fleet: each must take the number
//! away and be named alone.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::postgres::Database;

/// On a GPU with matrix units, so that the system's version decides whether they are used.
const BOTH: &str = "update fleet.environment set mlx_architecture = 'applegpu_g17s', os = 'macos'";

const CHANGES: [(&str, &str); 11] = [
    ("os_version = '27.0'", "os_major"),
    ("mlx_version = '0.33.0'", "mlx_version"),
    ("mlx_device = 'Device(cpu, 0)'", "mlx_device"),
    ("agent_version = '0.2.0'", "agent_version"),
    ("agent_commit = 'c0ffee-modified'", "agent_commit"),
    ("suite_version = '0.2.0'", "suite_version"),
    ("suite_commit = 'unknown'", "suite_commit"),
    ("nax_built = false", "nax_built"),
    ("os_version = '26.3'", "nax_expected"),
    ("blas = 'OpenBLAS'", "blas"),
    ("mlx_env = '{}'", "mlx_env"),
];

#[tokio::test]
async fn each_condition_that_differs_takes_the_number_away_and_is_named() {
    let database = Database::start();
    let mut owner = database.with_fleet("fleet").await;
    execute(&mut owner, BOTH).await;
    assert_eq!(compared(&mut owner).await, [(vec![], true)]);
    for (change, name) in CHANGES {
        let mut trial = owner.begin().await.unwrap();
        let change = match name {
            // Before and after 26.2 there are other differences than the major version.
            "os_major" => format!("{change}, mlx_architecture = 'applegpu_g16s'"),
            _ => change.to_owned(),
        };
        let update =
            format!("update fleet.environment set {change} where environment_id = 'env-studio'");
        execute(&mut trial, &update).await;
        let want = (vec![name.to_owned()], false);
        assert_eq!(compared(&mut trial).await, [want], "{change}");
        trial.rollback().await.unwrap();
    }
}

/// What is not in P30: another build of the same system, a limit, a folder.
#[tokio::test]
async fn what_cannot_change_a_rate_may_differ() {
    let database = Database::start();
    let mut owner = database.with_fleet("fleet").await;
    execute(
        &mut owner,
        "update fleet.environment set
            os_build = '25B99', wired_limit_bytes = 1 << 30, recommended_working_set_bytes = 1 << 30,
            metallib_bytes = 7, mlx_env = mlx_env || '{\"MLX_METAL_PATH\": \"/elsewhere\"}'
        where environment_id = 'env-studio'",
    )
    .await;
    assert_eq!(compared(&mut owner).await, [(vec![], true)]);
}

#[tokio::test]
async fn matrix_units_are_expected_where_mlx_would_use_them() {
    let database = Database::start();
    let mut owner = database.with_schema("fleet").await;
    for (os, version, architecture, want) in [
        ("macos", "26.2", "applegpu_g17s", true),
        ("macos", "26.2.1", "applegpu_g17g", true),
        ("macos", "27.0", "applegpu_g18p", true),
        ("macos", "26.10", "applegpu_g17d", true),
        ("macos", "26.1", "applegpu_g17s", false),
        ("macos", "26", "applegpu_g17s", false),
        ("macos", "26.2", "applegpu_g16s", false),
        ("macos", "26.2", "applegpu_g17p", false),
        ("macos", "26.2", "", false),
        ("macos", "unknown", "applegpu_g17s", false),
        ("linux", "26.2", "applegpu_g17s", false),
    ] {
        let got: bool = sqlx::query_scalar("select report.nax_expected($1, $2, $3)")
            .bind(os)
            .bind(version)
            .bind(architecture)
            .fetch_one(&mut owner)
            .await
            .unwrap();
        assert_eq!(got, want, "{os} {version} {architecture}");
    }
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

/// The distinct lists of differences between studio and mini where both measured one thing soundly, and
/// whether there is a number.
async fn compared(connection: &mut PgConnection) -> Vec<(Vec<String>, bool)> {
    sqlx::query(
        "select distinct differences, ratio is not null as number
        from report.comparison
        where machine = 'studio' and baseline = 'mini' and metric = 'decode_tps'
            and model = 'tinyllama-1.1b'
            and run_id = (
                select run_id from fleet.run join fleet.plan using (plan_id)
                where plan.name = 'm-series'
            )",
    )
    .fetch_all(connection)
    .await
    .unwrap()
    .iter()
    .map(|row| (row.get("differences"), row.get("number")))
    .collect()
}
