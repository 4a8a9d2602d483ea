//! What the rates of a case make a machine do, stored beside the model so that views can hold them against
//! a machine's ceilings without an arithmetic of their own.

use std::collections::{BTreeMap, HashMap};

use domain::ids::LaunchId;
use domain::model::ModelIdentity;
use domain::suite::Case;
use domain::work::Work;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::error::{Error, Result};

/// Ordered, so that two transactions do not wait for each other.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    digest: &'a str,
    dtype: &'static str,
    label: &'a str,
    suite: &'static str,
    case_key: String,
    metric: &'static str,
}

/// A launch whose model is known, with the case that it is of.
pub struct Measured<'a> {
    pub model: &'a ModelIdentity,
    pub case: Case,
}

/// The cases of launches, in no order.
pub async fn cases(
    executor: impl PgExecutor<'_>,
    launches: &[LaunchId],
) -> Result<HashMap<LaunchId, Case>> {
    let ids: Vec<Uuid> = launches.iter().map(|launch| launch.0).collect();
    let rows = sqlx::query!(
        "select launch.launch_id, launch.case_key, job.cases
         from fleet.launch
         join fleet.job using (job_id)
         where launch.launch_id = any($1)",
        &ids
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let cases: Vec<Case> =
                serde_json::from_value(row.cases.clone()).map_err(|_| Error::Corrupt {
                    column: "job.cases",
                    text: row.cases.to_string(),
                })?;
            let case = cases.into_iter().find(|case| case.key() == row.case_key);
            Ok(case.map(|case| (LaunchId(row.launch_id), case)))
        })
        .filter_map(Result::transpose)
        .collect()
}

/// What these launches' rates make a machine do. What is known already is left alone.
pub async fn put(executor: impl PgExecutor<'_>, measured: &[Measured<'_>]) -> Result<()> {
    let mut work: BTreeMap<Key<'_>, Work> = BTreeMap::new();
    for Measured { model, case } in measured {
        for (metric, of_metric) in Work::all(case, model) {
            let key = Key {
                digest: &model.digest,
                dtype: model.dtype.as_str(),
                label: &model.label,
                suite: case.suite().as_str(),
                case_key: case.key(),
                metric: metric.name(),
            };
            work.insert(key, of_metric);
        }
    }
    let text = |value: fn(&Key<'_>) -> String| -> Vec<String> { work.keys().map(value).collect() };
    let number = |value: fn(&Work) -> Option<f64>| -> Vec<Option<f64>> {
        work.values().map(value).collect()
    };
    sqlx::query!(
        "insert into fleet.work as old (model_id, suite, case_key, metric, bytes, flops)
         select model.model_id, w.suite, w.case_key, w.metric, w.bytes, w.flops
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::double precision[], $8::double precision[])
              as w (digest, dtype, label, suite, case_key, metric, bytes, flops)
         join fleet.model
             on model.digest = w.digest and model.dtype = w.dtype and model.label = w.label
         on conflict (model_id, suite, case_key, metric) do update
         set bytes = excluded.bytes, flops = excluded.flops
         where (old.bytes, old.flops) is distinct from (excluded.bytes, excluded.flops)",
        &text(|key| key.digest.to_owned()),
        &text(|key| key.dtype.to_owned()),
        &text(|key| key.label.to_owned()),
        &text(|key| key.suite.to_owned()),
        &text(|key| key.case_key.clone()),
        &text(|key| key.metric.to_owned()),
        &number(|work| work.bytes) as &[Option<f64>],
        &number(|work| work.flops) as &[Option<f64>]
    )
    .execute(executor)
    .await?;
    Ok(())
}
