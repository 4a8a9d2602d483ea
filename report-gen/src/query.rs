//! Reads the views of schema `report`, and nothing else, into plain [`Rows`]. One function per
//! statement; all of a report comes from one snapshot of the database.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

pub use sqlx::PgPool;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, Transaction};

use crate::analyze;
use crate::report::{
    Ceiling, Coverage, Direction, Disagreement, Doubt, Environment, Latency, Machine, MetricFacts,
    Model, Percentile, Run, Shape, UnknownDirection, Utilisation, Variant,
};
use crate::rows::{CaseRow, DifferenceRow, EnergyRow, IterationRow, LaunchRow, Rows};
use crate::stats::{self, Interval};

/// The model of a row; sqlx makes a type of its own for each query's rows.
macro_rules! variant {
    ($row:ident) => {
        Variant {
            model: $row.model,
            dtype: $row.dtype,
            quantisation: $row.quantisation,
            source: $row.model_source,
            digest: $row.model_digest,
            mark: None,
        }
    };
}

/// The case of a row, likewise.
macro_rules! case {
    ($row:ident) => {
        CaseRow {
            machine: $row.machine,
            suite: $row.suite,
            variant: variant!($row),
            case_key: $row.case_key.into(),
        }
    };
}

mod beyond;
mod derived;
mod heat;
mod pair;
mod samples;

pub use pair::run_pair;
pub use samples::samples;

/// Which run, as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunChoice {
    /// The one that was submitted last; an import only where nothing else is there.
    Latest,
    /// A run's id, or as much of its beginning as tells it from the others.
    Id(String),
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no run: expected `latest`, a run's id or at least its first four digits")]
pub struct BadRunChoice(String);

impl FromStr for RunChoice {
    type Err = BadRunChoice;

    fn from_str(text: &str) -> Result<Self, BadRunChoice> {
        let digits = |c: char| c.is_ascii_hexdigit() || c == '-';
        match text {
            "latest" => Ok(Self::Latest),
            id if id.len() >= 4 && id.len() <= 36 && id.chars().all(digits) => {
                Ok(Self::Id(id.to_ascii_lowercase()))
            }
            other => Err(BadRunChoice(other.to_owned())),
        }
    }
}

impl From<Uuid> for RunChoice {
    fn from(id: Uuid) -> Self {
        Self::Id(id.to_string())
    }
}

impl fmt::Display for RunChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Id(id) => f.write_str(id),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no run yet; submit one with `mlx-fleet run PLAN`")]
    NoRuns,
    #[error("no run's id begins with `{0}`; `mlx-fleet runs` lists them")]
    NoSuchRun(String),
    #[error("`{prefix}` begins the ids of {count} runs; give more of it")]
    AmbiguousRun { prefix: String, count: usize },
    #[error("the database could not answer")]
    Database(#[from] sqlx::Error),
    #[error("the database and this program are of different versions")]
    Direction(#[from] UnknownDirection),
}

/// All that a report on the run needs.
pub async fn rows(pool: &PgPool, choice: &RunChoice) -> Result<Rows, Error> {
    let mut snapshot = Snapshot::take(pool).await?;
    let run_id = find_run(&mut snapshot.first, choice).await?;
    let mut rows = rows_of(&mut snapshot, run_id).await?;
    let headline = &rows.run.headline;
    let first = &mut snapshot.first;
    rows.timelines = heat::timelines(first, run_id).await?;
    rows.noise = heat::noise(first, run_id, headline).await?;
    rows.fits = beyond::fits(first, run_id).await?;
    rows.history = beyond::history(first, run_id, headline).await?;
    snapshot.release().await?;
    Ok(rows)
}

/// How long a report waits for a second connection before it makes do with one: everybody who waited
/// for two would wait for the others.
const SECOND_WAIT: Duration = Duration::from_millis(250);

/// The database as it was at one moment, over one connection or two.
struct Snapshot<'p> {
    first: Transaction<'p, Postgres>,
    second: Option<Transaction<'p, Postgres>>,
}

impl<'p> Snapshot<'p> {
    async fn take(pool: &'p PgPool) -> Result<Self, sqlx::Error> {
        let mut first = begin(pool).await?;
        let mut second = match tokio::time::timeout(SECOND_WAIT, begin(pool)).await {
            Ok(Ok(mut second)) => {
                let id = sqlx::query_scalar!(r#"select pg_export_snapshot() as "id!""#)
                    .fetch_one(&mut *first)
                    .await?;
                let same = format!("set transaction snapshot '{id}'");
                second.execute(AssertSqlSafe(same)).await?;
                Some(second)
            }
            // Busy, or a server that gives no more.
            Ok(Err(_)) | Err(_) => None,
        };
        for transaction in [Some(&mut first), second.as_mut()].into_iter().flatten() {
            // Reports compile few statements for much data; the planner's compiler costs more than it
            // saves. And what fits in memory is grouped without being sorted.
            transaction.execute("set local jit = off").await?;
            transaction.execute("set local work_mem = '64MB'").await?;
        }
        Ok(Self { first, second })
    }

    async fn release(self) -> Result<(), sqlx::Error> {
        self.first.commit().await?;
        match self.second {
            Some(second) => second.commit().await,
            None => Ok(()),
        }
    }
}

async fn begin(pool: &PgPool) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    transaction
        .execute("set transaction isolation level repeatable read, read only")
        .await?;
    Ok(transaction)
}

/// What a comparison asks for too: the run's own numbers and conditions.
async fn rows_of(snapshot: &mut Snapshot<'_>, run_id: Uuid) -> Result<Rows, Error> {
    // About half of the work each.
    let by_token = async |connection: &mut PgConnection| -> Result<_, Error> {
        let latencies = latencies(connection, run_id).await?;
        Ok((latencies, energies(connection, run_id).await?))
    };
    let (rows, (latencies, energies)) = match &mut snapshot.second {
        Some(second) => tokio::try_join!(by_launch(&mut snapshot.first, run_id), by_token(second))?,
        None => (
            by_launch(&mut snapshot.first, run_id).await?,
            by_token(&mut snapshot.first).await?,
        ),
    };
    Ok(Rows {
        latencies,
        energies,
        ..rows
    })
}

/// What a comparison with another run needs.
async fn to_compare(connection: &mut PgConnection, run_id: Uuid) -> Result<Rows, Error> {
    let run = run(connection, run_id).await?;
    let launches = launches(connection, run_id).await?;
    let iterations = if analyze::wants_iterations(&launches) {
        iterations(
            connection,
            run_id,
            &run.headline,
            stats::BOOTSTRAP_LAUNCHES as i64,
        )
        .await?
    } else {
        Vec::new()
    };
    Ok(Rows {
        models: models(connection, run_id).await?,
        launches,
        iterations,
        machines: Vec::new(),
        environments: Vec::new(),
        baseline: None,
        differences: Vec::new(),
        latencies: Vec::new(),
        energies: Vec::new(),
        ceilings: Vec::new(),
        utilisations: Vec::new(),
        knees: Vec::new(),
        floors: Vec::new(),
        memory_slopes: Vec::new(),
        position_effects: Vec::new(),
        timelines: Vec::new(),
        noise: Vec::new(),
        fits: Vec::new(),
        history: Vec::new(),
        validity: Vec::new(),
        disagreements: Vec::new(),
        coverage: Vec::new(),
        metrics: Vec::new(),
        run,
    })
}

/// All but what each token took, which is as much work again.
async fn by_launch(connection: &mut PgConnection, run_id: Uuid) -> Result<Rows, Error> {
    let rows = to_compare(connection, run_id).await?;
    let headline = &rows.run.headline;
    let (baseline, differences) = differences(connection, run_id, headline).await?;
    Ok(Rows {
        machines: machines(connection, run_id).await?,
        environments: environments(connection, run_id).await?,
        baseline,
        differences,
        ceilings: ceilings(connection, run_id).await?,
        utilisations: utilisations(connection, run_id).await?,
        knees: derived::knees(connection, run_id).await?,
        floors: derived::floors(connection, run_id).await?,
        memory_slopes: derived::memory_slopes(connection, run_id).await?,
        position_effects: derived::position_effects(connection, run_id, headline).await?,
        validity: validity(connection, run_id).await?,
        disagreements: disagreements(connection, run_id).await?,
        coverage: coverage(connection, run_id).await?,
        metrics: metrics(connection).await?,
        ..rows
    })
}

async fn find_run(connection: &mut PgConnection, choice: &RunChoice) -> Result<Uuid, Error> {
    match choice {
        RunChoice::Latest => latest_run(connection).await?.ok_or(Error::NoRuns),
        RunChoice::Id(prefix) => {
            let found = runs_by_prefix(connection, prefix).await?;
            match found[..] {
                [run_id] => Ok(run_id),
                [] => Err(Error::NoSuchRun(prefix.clone())),
                _ => Err(Error::AmbiguousRun {
                    prefix: prefix.clone(),
                    count: found.len(),
                }),
            }
        }
    }
}

async fn latest_run(connection: &mut PgConnection) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select run_id as "run_id!" from report.run
           order by label = 'imported', submitted_at desc, run_id desc limit 1"#
    )
    .fetch_optional(connection)
    .await
}

async fn runs_by_prefix(
    connection: &mut PgConnection,
    prefix: &str,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select run_id as "run_id!" from report.run where starts_with(run_id::text, $1)"#,
        prefix
    )
    .fetch_all(connection)
    .await
}

async fn run(connection: &mut PgConnection, run_id: Uuid) -> Result<Run, sqlx::Error> {
    sqlx::query_file_as!(Run, "src/query/run.sql", run_id)
        .fetch_one(connection)
        .await
}

async fn machines(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Machine>, sqlx::Error> {
    sqlx::query_file_as!(Machine, "src/query/machines.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn environments(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Environment>, sqlx::Error> {
    sqlx::query_file_as!(Environment, "src/query/environments.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn models(connection: &mut PgConnection, run_id: Uuid) -> Result<Vec<Model>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/models.sql", run_id)
        .fetch_all(connection)
        .await?;
    let models = found.into_iter().map(|row| Model {
        variant: Variant {
            model: row.model,
            dtype: Some(row.dtype),
            quantisation: Some(row.quantisation),
            source: Some(row.model_source),
            digest: Some(row.model_digest),
            mark: None,
        },
        model_type: row.model_type,
        shape: Shape::of(&row.config),
        parameters: row.parameters,
        weight_bytes: row.weight_bytes,
        decode_bytes: row.decode_bytes,
        kv_bytes_per_token: row.kv_bytes_per_token,
        synthetic: row.synthetic,
    });
    Ok(models.collect())
}

async fn launches(connection: &mut PgConnection, run_id: Uuid) -> Result<Vec<LaunchRow>, Error> {
    let found = sqlx::query_file!("src/query/launches.sql", run_id)
        .fetch_all(connection)
        .await?;
    found
        .into_iter()
        .map(|row| {
            Ok(LaunchRow {
                case: case!(row),
                metric: row.metric,
                unit: row.unit,
                direction: row.direction.parse::<Direction>()?,
                launch: row.launch,
                median: row.median,
                min: row.min,
                max: row.max,
                iterations: row.iterations,
                valid: row.valid,
                tainted: row.tainted,
                reasons: row.reasons,
            })
        })
        .collect()
}

async fn iterations(
    connection: &mut PgConnection,
    run_id: Uuid,
    metrics: &[String],
    least_launches: i64,
) -> Result<Vec<IterationRow>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/iterations.sql", run_id, metrics, least_launches)
        .fetch_all(connection)
        .await?;
    let rows = found.into_iter().map(|row| IterationRow {
        case: case!(row),
        metric: row.metric,
        launch: row.launch,
        value: row.value,
    });
    Ok(rows.collect())
}

/// The machine that most can be compared with, and what it shares with each other machine.
async fn differences(
    connection: &mut PgConnection,
    run_id: Uuid,
    metrics: &[String],
) -> Result<(Option<String>, Vec<DifferenceRow>), sqlx::Error> {
    let found = sqlx::query_file!("src/query/differences.sql", run_id, metrics)
        .fetch_all(connection)
        .await?;
    let baseline = found.first().map(|row| row.baseline.clone());
    let rows = found.into_iter().map(|row| DifferenceRow {
        machine: row.machine,
        suite: row.suite,
        model_source: row.model_source,
        model_digest: row.model_digest,
        baseline_digest: row.baseline_model_digest,
        dtype: row.dtype,
        case_key: row.case_key.into(),
        metric: row.metric,
        differences: row.differences,
    });
    Ok((baseline, rows.collect()))
}

async fn latencies(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Latency>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/latencies.sql", run_id)
        .fetch_all(connection)
        .await?;
    let latencies = found.into_iter().map(|row| Latency {
        machine: row.machine,
        variant: variant!(row),
        case_key: row.case_key.into(),
        gaps: row.gaps,
        p50_ms: percentile(row.p50_ms, row.p50_low_ms, row.p50_high_ms),
        p90_ms: percentile(row.p90_ms, row.p90_low_ms, row.p90_high_ms),
        p95_ms: percentile(row.p95_ms, row.p95_low_ms, row.p95_high_ms),
        p99_ms: percentile(row.p99_ms, row.p99_low_ms, row.p99_high_ms),
        max_ms: row.max_ms,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(latencies.collect())
}

fn percentile(value: Option<f64>, low: Option<f64>, high: Option<f64>) -> Option<Percentile> {
    Some(Percentile {
        value: value?,
        interval: Interval {
            low: low?,
            high: high?,
        },
    })
}

async fn energies(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<EnergyRow>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/energies.sql", run_id)
        .fetch_all(connection)
        .await?;
    let energies = found.into_iter().map(|row| EnergyRow {
        case: case!(row),
        mode: row.mode,
        launch: row.launch,
        sensor: row.sensor,
        mean_w: row.mean_w,
        energy_j_per_token: row.energy_j_per_token,
        reason: row.reason,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(energies.collect())
}

async fn ceilings(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Ceiling>, sqlx::Error> {
    sqlx::query_file_as!(Ceiling, "src/query/ceilings.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn utilisations(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Utilisation>, sqlx::Error> {
    let found = sqlx::query_file!("src/query/utilisations.sql", run_id)
        .fetch_all(connection)
        .await?;
    let utilisations = found.into_iter().map(|row| Utilisation {
        machine: row.machine,
        suite: row.suite,
        variant: variant!(row),
        case_key: row.case_key.into(),
        metric: row.metric,
        gbps: row.gbps,
        tflops: row.tflops,
        mbu_meas: row.mbu_meas,
        mbu_spec: row.mbu_spec,
        mfu_meas: row.mfu_meas,
        mfu_spec: row.mfu_spec,
        arith_intensity: row.arith_intensity,
        valid: row.valid,
        tainted: row.tainted,
        reasons: row.reasons,
    });
    Ok(utilisations.collect())
}

async fn validity(connection: &mut PgConnection, run_id: Uuid) -> Result<Vec<Doubt>, sqlx::Error> {
    sqlx::query_file_as!(Doubt, "src/query/validity.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn disagreements(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Disagreement>, sqlx::Error> {
    sqlx::query_file_as!(Disagreement, "src/query/disagreements.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn coverage(
    connection: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<Coverage>, sqlx::Error> {
    sqlx::query_file_as!(Coverage, "src/query/coverage.sql", run_id)
        .fetch_all(connection)
        .await
}

async fn metrics(connection: &mut PgConnection) -> Result<Vec<MetricFacts>, Error> {
    let found = sqlx::query_file!("src/query/metrics.sql")
        .fetch_all(connection)
        .await?;
    found
        .into_iter()
        .map(|row| {
            Ok(MetricFacts {
                direction: row.direction.parse::<Direction>()?,
                metric: row.metric,
                unit: row.unit,
                description: row.description,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_latest_or_its_id_or_a_beginning_of_it() {
        assert_eq!("latest".parse::<RunChoice>().unwrap(), RunChoice::Latest);
        assert_eq!(
            "018F".parse::<RunChoice>().unwrap(),
            RunChoice::Id("018f".into())
        );
        for bad in ["", "018", "lates", "018f'--"] {
            assert!(bad.parse::<RunChoice>().is_err(), "{bad}");
        }
    }
}
