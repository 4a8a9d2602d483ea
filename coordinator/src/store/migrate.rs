//! Brings the schema up to date: migrations, then the views, rebuilt whole when they changed, and the
//! domain's words for metrics and doubts and what it knows of chips.

use domain::chip::{self, ChipSpec};
use domain::llama_cpp::{self, Published};
use domain::metric::Metric;
use domain::reason::Reason;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection, PgConnection};

use super::error::{Error, Result, read};
use super::setting;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// (file, text), in the order in which they build on one another.
static VIEWS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/views.rs"));

const SCHEMA_SHA256: &str = "schema_sha256";
/// What the schema went through, with a comma between the versions: a backup has no other list of it.
const MIGRATED: &str = "migrations";
/// Where sqlx keeps its own list.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// Several coordinators may start at once: one works, the others wait for it. A restart with nothing
/// new leaves the views alone, so that no reader sees them vanish.
pub async fn migrate(url: &SecretString) -> Result<()> {
    let mut connection = super::connect_first(url).await?;
    let wanted = schema_sha256();
    // A reader of reports can take advisory locks too, and must not hold up a restart.
    if stored(&mut connection).await?.as_deref() == Some(&wanted) {
        return Ok(connection.close().await?);
    }
    // Held until the connection ends.
    sqlx::query!("select pg_advisory_lock(hashtext('mlx_fleet.migrate')) is null as done")
        .fetch_one(&mut connection)
        .await?;
    if stored(&mut connection).await?.as_deref() != Some(&wanted) {
        rebuild(&mut connection, &wanted).await?;
    }
    Ok(connection.close().await?)
}

/// Takes a schema up that was restored from a backup, and brings it up to date.
pub async fn adopt(url: &SecretString) -> Result<()> {
    let mut connection = super::connect_first(url).await?;
    let text = setting::find(&mut connection, MIGRATED).await?;
    let text = text.unwrap_or_default();
    let versions = text.split(',').map(|version| read(MIGRATED, version));
    let versions = versions.collect::<Result<Vec<i64>>>()?;
    if let Some(newer) = versions.iter().find(|&&v| !MIGRATIONS.version_exists(v)) {
        return Err(Error::Newer(*newer));
    }
    connection.ensure_migrations_table(MIGRATIONS_TABLE).await?;
    for migration in MIGRATIONS.iter() {
        if versions.contains(&migration.version) {
            connection.skip(MIGRATIONS_TABLE, migration).await?;
        }
    }
    // Views are not in a backup.
    setting::put(&mut connection, SCHEMA_SHA256, "restored").await?;
    connection.close().await?;
    migrate(url).await
}

async fn stored(connection: &mut PgConnection) -> Result<Option<String>> {
    let there =
        sqlx::query_scalar!(r#"select to_regclass('fleet.setting') is not null as "there!""#)
            .fetch_one(&mut *connection)
            .await?;
    if !there {
        return Ok(None);
    }
    setting::find(connection, SCHEMA_SHA256).await
}

/// One transaction: whatever stops it, readers keep the views that they had.
async fn rebuild(connection: &mut PgConnection, sha256: &str) -> Result<()> {
    let mut tx = connection.begin().await?;
    let views = views_of_others(&mut tx).await?;
    if !views.is_empty() {
        let views = views.join(", ");
        return Err(Error::ReadByOthers { views });
    }
    // Views would stand in the way of a migration that changes what they read.
    sqlx::raw_sql("drop schema if exists report cascade")
        .execute(&mut *tx)
        .await?;
    MIGRATIONS.run_direct(None, &mut *tx, false).await?;
    for &(file, text) in VIEWS {
        sqlx::raw_sql(text)
            .execute(&mut *tx)
            .await
            .map_err(|source| Error::View { file, source })?;
    }
    write_vocabulary(&mut tx).await?;
    setting::put(&mut *tx, SCHEMA_SHA256, sha256).await?;
    let versions: Vec<String> = MIGRATIONS.iter().map(|m| m.version.to_string()).collect();
    setting::put(&mut *tx, MIGRATED, &versions.join(",")).await?;
    tx.commit().await?;
    tracing::info!(
        migrations = MIGRATIONS.iter().count(),
        views = VIEWS.len(),
        "schema rebuilt"
    );
    Ok(())
}

/// Views outside schema `report` that read it: dropping it would take them along.
async fn views_of_others(connection: &mut PgConnection) -> Result<Vec<String>> {
    let views = sqlx::query_scalar!(
        r#"select distinct format('%I.%I', home.nspname, view.relname) as "view!"
           from pg_depend
           join pg_rewrite on pg_rewrite.oid = pg_depend.objid
           join pg_class as view on view.oid = pg_rewrite.ev_class
           join pg_namespace as home on home.oid = view.relnamespace
           join pg_class as read on read.oid = pg_depend.refobjid
           join pg_namespace as report on report.oid = read.relnamespace
           where pg_depend.classid = 'pg_rewrite'::regclass
               and pg_depend.refclassid = 'pg_class'::regclass
               and report.nspname = 'report' and home.nspname <> 'report'"#
    )
    .fetch_all(connection)
    .await?;
    Ok(views)
}

/// The words that samples use. One that this version no longer knows stays: old samples name it.
async fn write_vocabulary(connection: &mut PgConnection) -> Result<()> {
    let metric = |word: fn(Metric) -> &'static str| -> Vec<String> {
        Metric::ALL
            .iter()
            .map(|metric| word(*metric).to_owned())
            .collect()
    };
    sqlx::query!(
        "insert into fleet.metric (metric, unit, direction, description)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
         on conflict (metric) do update
         set unit = excluded.unit, direction = excluded.direction,
             description = excluded.description",
        &metric(Metric::name),
        &metric(Metric::unit),
        &metric(|metric| metric.direction().as_str()),
        &metric(Metric::description),
    )
    .execute(&mut *connection)
    .await?;
    let reason = |word: fn(Reason) -> &'static str| -> Vec<String> {
        Reason::ALL
            .iter()
            .map(|reason| word(*reason).to_owned())
            .collect()
    };
    sqlx::query!(
        "insert into fleet.reason (reason, severity, description)
         select * from unnest($1::text[], $2::text[], $3::text[])
         on conflict (reason) do update
         set severity = excluded.severity, description = excluded.description",
        &reason(Reason::code),
        &reason(|reason| reason.severity().as_str()),
        &reason(Reason::description),
    )
    .execute(&mut *connection)
    .await?;
    write_chips(connection).await?;
    write_published(connection).await
}

/// Whole, unlike the words: nothing refers to them.
async fn write_chips(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("delete from fleet.chip")
        .execute(&mut *connection)
        .await?;
    let answers = chip::answers();
    let names: Vec<String> = answers.iter().map(|(chip, _, _)| chip.clone()).collect();
    let cores: Vec<Option<i32>> = answers
        .iter()
        .map(|(_, cores, _)| cores.map(|cores| cores as i32))
        .collect();
    let text = |value: fn(&ChipSpec) -> &'static str| -> Vec<String> {
        let specs = answers.iter().map(|(_, _, spec)| *spec);
        specs.map(|spec| value(spec).to_owned()).collect()
    };
    let number = |value: fn(&ChipSpec) -> Option<f64>| -> Vec<Option<f64>> {
        answers.iter().map(|(_, _, spec)| value(spec)).collect()
    };
    sqlx::query!(
        "insert into fleet.chip (chip, gpu_cores, bandwidth_gbps, bandwidth_source, fp32_tflops,
                                 fp32_kind, peak_tflops)
         select * from unnest($1::text[], $2::integer[], $3::double precision[], $4::text[],
                              $5::double precision[], $6::text[], $7::double precision[])",
        &names,
        &cores as &[Option<i32>],
        &number(|spec| Some(spec.bandwidth_gbps)) as &[Option<f64>],
        &text(|spec| spec.bandwidth_source),
        &number(|spec| spec.fp32_tflops) as &[Option<f64>],
        &text(|spec| spec.fp32_kind),
        &number(ChipSpec::peak_tflops) as &[Option<f64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whole, as chips are.
async fn write_published(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("delete from fleet.reference_result")
        .execute(&mut *connection)
        .await?;
    let all = llama_cpp::published();
    let text = |value: fn(&Published) -> String| -> Vec<String> { all.iter().map(value).collect() };
    let gpu_cores: Vec<i32> = all.iter().map(|it| it.gpu_cores as i32).collect();
    let weight_bytes: Vec<i64> = all.iter().map(|it| it.precision.bytes() as i64).collect();
    let values: Vec<f64> = all.iter().map(|it| it.value).collect();
    sqlx::query!(
        "insert into fleet.reference_result (
             engine, source, model, parameters, chip, gpu_cores, quantisation, weight_bytes, suite,
             case_key, metric, value
         )
         select 'llama.cpp', $1, $2, $3, *
         from unnest($4::text[], $5::integer[], $6::text[], $7::bigint[], $8::text[], $9::text[],
                     $10::text[], $11::double precision[])",
        llama_cpp::SOURCE,
        llama_cpp::MODEL,
        llama_cpp::PARAMETERS as i64,
        &text(|it| it.chip.clone()),
        &gpu_cores,
        &text(|it| it.precision.as_str().to_owned()),
        &weight_bytes,
        &text(|it| it.suite.to_string()),
        &text(|it| it.case_key.clone()),
        &text(|it| it.metric.name().to_owned()),
        &values
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn schema_sha256() -> String {
    let mut hash = Sha256::new();
    for migration in MIGRATIONS.iter() {
        hash.update(&migration.checksum);
    }
    for (file, text) in VIEWS {
        hash.update(file);
        hash.update(text);
    }
    for metric in Metric::ALL {
        hash.update(format!(
            "{metric} {} {:?} {}",
            metric.unit(),
            metric.direction(),
            metric.description()
        ));
    }
    for reason in Reason::ALL {
        hash.update(format!(
            "{reason} {:?} {}",
            reason.severity(),
            reason.description()
        ));
    }
    for answer in chip::answers() {
        hash.update(format!("{answer:?}"));
    }
    for published in llama_cpp::published() {
        hash.update(format!("{published:?}"));
    }
    hex::encode(hash.finalize())
}
