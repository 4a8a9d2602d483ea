//! The views and the report over a real Postgres, against what scipy made of the same samples.

use report_gen::query::Error;
use report_gen::report::Measurement;
use report_gen::stats::{self, Method, Verdict};
use report_gen::{Format, Report, RunChoice, render_run, report_of};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use crate::postgres::{Database, build_views, read, repository};

pub fn expected() -> Value {
    serde_json::from_str(&read(&repository(
        "report-gen/tests/fixtures/expected.json",
    )))
    .unwrap()
}

pub async fn rows(pool: &PgPool, query: &str) -> Vec<Value> {
    let query = format!("select to_jsonb(found) as found from ({query}) as found");
    let rows = sqlx::query(AssertSqlSafe(query))
        .fetch_all(pool)
        .await
        .unwrap();
    rows.iter().map(|row| row.get("found")).collect()
}

pub fn close(got: &Value, want: &Value, what: &str) {
    let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
    assert!(
        (got - want).abs() <= 1e-7 * want.abs().max(1e-6),
        "{what}: {got} is not {want}"
    );
}

pub fn find<'a>(rows: &'a [Value], like: &Value, keys: &[&str]) -> &'a Value {
    rows.iter()
        .find(|row| keys.iter().all(|key| row[key] == like[key]))
        .unwrap_or_else(|| panic!("no row like {like}"))
}

pub const CASE: [&str; 6] = ["machine", "model", "dtype", "suite", "case_key", "metric"];

#[tokio::test]
async fn views_and_report_equal_scipy() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["run"].as_str().unwrap();

    quantiles(&pool, &expected["t"]).await;
    summaries(&pool, run, &expected["summaries"]).await;
    comparisons(&pool, run, &expected["comparisons"]).await;
    regression(&pool, &expected["regression"]).await;
    doubted_runs(&pool, &expected["hot"]).await;
    utilisations(&pool, run, &expected["utilisations"]).await;
    latencies(&pool, run, &expected["latencies"]).await;
    doubts_and_gaps(&pool, run).await;

    let report = report_of(&pool, &run.parse().unwrap()).await.unwrap();
    report_equals(&report, &expected);
    pool.close().await;
}

async fn quantiles(pool: &PgPool, expected: &Value) {
    for pair in expected.as_array().unwrap() {
        let df = pair[0].as_f64().unwrap();
        let got = rows(pool, &format!("select report.t_quantile_975({df}) as t")).await;
        close(&got[0]["t"], &pair[1], &format!("t at {df}"));
        close(
            &stats::t_quantile_975(df).into(),
            &got[0]["t"],
            &format!("Rust's t at {df}"),
        );
    }
    let below = rows(pool, "select report.t_quantile_975(0) as t").await;
    assert!(below[0]["t"].is_null());
}

async fn summaries(pool: &PgPool, run: &str, expected: &Value) {
    let got = rows(
        pool,
        &format!("select * from report.case_summary where run_id = '{run}'"),
    )
    .await;
    let expected = expected.as_array().unwrap();
    assert_eq!(
        got.len(),
        expected.len(),
        "the late launch's sample must not make a row"
    );
    for want in expected {
        let row = find(&got, want, &CASE);
        for column in ["estimate", "ci_low", "ci_high", "cv", "launches"] {
            close(&row[column], &want[column], &format!("{column} of {want}"));
        }
        let cold = want["machine"] == "mini"
            && want["model"] == "qwen3-0.6b"
            && want["case_key"] == "regime=cold";
        assert_eq!(row["valid"], !cold, "{want}");
        let hot = want["machine"] == "air" && want["suite"] == "decode";
        assert_eq!(row["tainted"], hot, "{want}");
    }
}

async fn comparisons(pool: &PgPool, run: &str, expected: &Value) {
    let got = rows(
        pool,
        &format!("select * from report.comparison where run_id = '{run}' and baseline = 'mini'"),
    )
    .await;
    for want in expected.as_array().unwrap() {
        let row = find(&got, want, &CASE);
        if row["differences"] != Value::Array(vec![]) {
            assert_eq!(row["differences"], json!(["baseline_invalid"]), "{want}");
            assert!(row["ratio"].is_null() && row["verdict"].is_null());
            continue;
        }
        for column in ["ratio", "ci_low", "ci_high"] {
            close(&row[column], &want[column], &format!("{column} of {want}"));
        }
    }
    let other_system: Vec<&Value> = got.iter().filter(|row| row["machine"] == "air").collect();
    assert!(!other_system.is_empty());
    for row in other_system {
        assert_eq!(row["differences"][0], "os_major");
        assert!(row["ratio"].is_null());
    }
    let faster = got
        .iter()
        .filter(|row| row["machine"] == "studio" && row["metric"] == "decode_tps")
        .collect::<Vec<_>>();
    assert!(!faster.is_empty() && faster.iter().all(|row| row["verdict"] == "faster"));
    // Less time is faster too.
    assert!(
        got.iter()
            .any(|row| row["metric"] == "ttft_ms" && row["verdict"] == "faster")
    );
}

/// Only of what this run measured on this machine: `air` has no roofline, and `studio` none in f32.
async fn utilisations(pool: &PgPool, run: &str, expected: &Value) {
    let query = format!("select * from report.utilisation where run_id = '{run}'");
    let got = rows(pool, &query).await;
    let expected = expected.as_array().unwrap();
    assert_eq!(got.len(), expected.len());
    for want in expected {
        let row = find(&got, want, &CASE);
        for column in [
            "gbps",
            "tflops",
            "mbu_meas",
            "mbu_spec",
            "mfu_meas",
            "mfu_spec",
            "arith_intensity",
        ] {
            if want[column].is_null() {
                assert!(row[column].is_null(), "{column} of {want}: {}", row[column]);
            } else {
                close(&row[column], &want[column], &format!("{column} of {want}"));
            }
        }
    }
    let query = format!("select * from report.ceiling where run_id = '{run}' order by machine");
    let ceilings = rows(pool, &query).await;
    let machines: Vec<&Value> = ceilings.iter().map(|row| &row["machine"]).collect();
    assert_eq!(machines, ["mini", "studio"]);
    assert_eq!(ceilings[0]["nax_observed"], false);
    close(
        &ceilings[0]["bandwidth_gbps"],
        &120.into(),
        "published for an M4",
    );
}

async fn regression(pool: &PgPool, expected: &Value) {
    let run = expected["run"].as_str().unwrap();
    let query =
        format!("select * from report.regression where run_id = '{run}' and metric = 'decode_tps'");
    let got = rows(pool, &query).await;
    close(&got[0]["change"], &expected["change"], "change");
    close(&got[0]["threshold"], &expected["threshold"], "threshold");
    assert_eq!(got[0]["verdict"], "regressed");
    assert_eq!(got[0]["earlier_runs"], 9);

    // P29: without eight earlier runs there is no verdict, whatever the change was.
    let of = |condition: &str| {
        format!("select * from report.regression where not tainted and {condition}")
    };
    let young = rows(pool, &of("earlier_runs between 1 and 7")).await;
    assert!(young.len() >= 7, "{}", young.len());
    for row in young {
        assert_eq!(row["verdict"], "insufficient_history", "{row}");
        assert_eq!(row["threshold"], Value::Null, "{row}");
        assert!(row["change"].is_number(), "{row}");
    }
    let first_judged = rows(pool, &of("earlier_runs = 8")).await;
    assert!(!first_judged.is_empty());
    for row in first_judged {
        assert_ne!(row["verdict"], "insufficient_history", "{row}");
        assert!(row["threshold"].is_number(), "{row}");
    }
}

/// A run under doubtful conditions is not judged, and one of another protocol begins its own series;
/// neither stands between the others.
async fn doubted_runs(pool: &PgPool, hot: &Value) {
    let of = |condition: &str| {
        format!("select * from report.regression where metric = 'decode_tps' and {condition}")
    };
    let run = hot.as_str().unwrap();
    let hot = rows(pool, &of(&format!("run_id = '{run}'"))).await;
    assert_eq!(hot[0]["verdict"], "tainted");
    assert!(hot[0]["change"].as_f64().unwrap() < -0.3, "{}", hot[0]);
    let next = rows(pool, &of(&format!("previous_run_id = '{run}'"))).await;
    assert_eq!(next, Vec::<Value>::new());
    let far = rows(pool, &of("abs(change) > 0.3 and verdict <> 'tainted'")).await;
    assert_eq!(far, Vec::<Value>::new(), "the short run has no predecessor");
}

async fn doubts_and_gaps(pool: &PgPool, run: &str) {
    let of = |view: &str| format!("select * from report.{view} where run_id = '{run}'");
    let doubts = rows(pool, &of("validity")).await;
    assert_eq!(doubts.len(), 2);
    let not_cold = doubts
        .iter()
        .find(|row| row["reason"] == "not_cold")
        .unwrap();
    assert_eq!(
        (&not_cold["severity"], &not_cold["launches"]),
        (&"invalid".into(), &2.into())
    );

    let coverage = rows(pool, &of("coverage")).await;
    let state = |state: &str| coverage.iter().filter(|row| row["state"] == state).count();
    assert_eq!(
        (state("succeeded"), state("skipped"), state("parked")),
        (38, 1, 1)
    );
    assert_eq!(state("excluded"), 1);

    // Readings alternate between 12 W and 14 W, so the mean over many seconds is 13 W.
    let energy = rows(pool, &of("energy")).await;
    let sound: Vec<&Value> = energy.iter().filter(|row| row["reason"] == "").collect();
    assert!(
        !sound.is_empty() && sound.len() < energy.len(),
        "some regions are too short"
    );
    for row in sound {
        assert!(
            (row["mean_w"].as_f64().unwrap() - 13.0).abs() < 0.3,
            "{row}"
        );
        let joules = row["mean_w"].as_f64().unwrap() * row["region_s"].as_f64().unwrap();
        close(&row["energy_j"], &joules.into(), "energy");
    }

    // The modes are apart, and each has only its own iterations.
    let modes = |mode: &'static str| energy.iter().filter(move |row| row["mode"] == mode);
    assert!(modes("pipelined").count() > 0 && modes("per_token").count() > 0);
    let case = |row: &Value| [&row["launch_id"], &row["sensor"]].map(Value::to_string);
    for pipelined in modes("pipelined") {
        let synced = modes("per_token").find(|row| case(row) == case(pipelined));
        let seconds = |row: &Value| row["region_s"].as_f64().unwrap();
        assert!(seconds(synced.unwrap()) > 1.05 * seconds(pipelined));
        assert_eq!(pipelined["tokens"], 128 * 4);
    }
    for row in &energy {
        assert_eq!(
            (&row["valid"], &row["tainted"]),
            (&true.into(), &false.into())
        );
    }
}

async fn latencies(pool: &PgPool, run: &str, expected: &Value) {
    let query = format!("select * from report.latency where run_id = '{run}'");
    let got = rows(pool, &query).await;
    let expected = expected.as_array().unwrap();
    assert_eq!(got.len(), expected.len());
    for want in expected {
        let row = find(&got, want, &["machine", "model", "case_key"]);
        assert_eq!(row["gaps"], want["gaps"]);
        for p in ["p50", "p90", "p95", "p99"] {
            for end in ["ms", "low_ms", "high_ms"] {
                let column = format!("{p}_{end}");
                match &want[&column] {
                    Value::Null => assert!(row[&column].is_null(), "{column} of {row}"),
                    value => close(&row[&column], value, &column),
                }
            }
        }
        let hot = want["machine"] == "air";
        assert_eq!(
            (&row["valid"], &row["tainted"]),
            (&true.into(), &hot.into())
        );
        let reasons: &[&str] = if hot { &["thermal"] } else { &[] };
        assert_eq!(row["reasons"], json!(reasons));
    }
}

fn report_equals(report: &Report, expected: &Value) {
    let found = |want: &Value| -> &Measurement {
        report
            .measurements
            .iter()
            .find(|m| {
                want["machine"] == m.machine.as_str()
                    && want["model"] == m.variant.model.as_str()
                    && want["dtype"].as_str() == m.variant.dtype.as_deref()
                    && want["case_key"] == m.case_key.as_str()
                    && want["metric"] == m.metric.as_str()
            })
            .unwrap_or_else(|| panic!("the report lacks {want}"))
    };
    for want in expected["summaries"].as_array().unwrap() {
        let estimate = found(want).estimate;
        let interval = estimate.interval.unwrap();
        assert_eq!(estimate.method, Method::TOnLogs);
        close(&estimate.value.into(), &want["estimate"], "estimate");
        close(&interval.low.into(), &want["ci_low"], "ci_low");
        close(&interval.high.into(), &want["ci_high"], "ci_high");
    }
    assert_eq!(report.comparison.baseline.as_deref(), Some("mini"));
    for want in expected["comparisons"].as_array().unwrap() {
        let pair = report.comparison.pairs.iter().find(|pair| {
            pair.machine == "studio"
                && want["model"] == pair.variant.model.as_str()
                && want["dtype"].as_str() == pair.variant.dtype.as_deref()
                && want["case_key"] == pair.case_key.as_str()
                && want["metric"] == pair.metric.as_str()
        });
        // Only headline metrics are compared in a report, and only valid numbers.
        let Some(ratio) = pair.and_then(|pair| pair.ratio) else {
            continue;
        };
        close(&ratio.value.into(), &want["ratio"], "ratio");
        close(
            &ratio.interval.unwrap().low.into(),
            &want["ci_low"],
            "ratio's ci_low",
        );
        close(
            &pair.unwrap().p_rank.unwrap().into(),
            &want["p_rank"],
            "Mann-Whitney's p",
        );
    }
    let score = report
        .comparison
        .scores
        .iter()
        .find(|score| score.machine == "studio" && score.metric == "decode_tps")
        .unwrap();
    assert_eq!(score.verdict, Some(Verdict::Faster));
    for want in expected["laws"].as_array().unwrap() {
        law_equals(report, want);
    }
    let shape = report.models[0].shape;
    assert_eq!(
        (shape.layers, shape.kv_heads, shape.head_dim),
        (Some(28), Some(8), Some(128)),
        "config.json comes through the view"
    );
    // The truth that the fixture was drawn from.
    let interval = score.ratio.unwrap().interval.unwrap();
    assert!(interval.low < 3.2 && 3.2 < interval.high, "{interval:?}");
}

/// numpy's and scipy's fits through the three models in bf16.
fn law_equals(report: &Report, want: &Value) {
    let mut laws = report.laws.iter();
    let found = laws.find(|law| {
        want["machine"] == law.machine.as_str()
            && want["metric"] == law.quantity.metric
            && law.of == "bf16"
    });
    let got = serde_json::to_value(found.unwrap()).unwrap();
    close(
        &got["points"].as_array().unwrap().len().into(),
        &want["n"],
        "points",
    );
    for form in ["line", "power"] {
        for (name, want) in want[form].as_object().unwrap() {
            let got = &got[form][name];
            match want.as_array() {
                None => close(got, want, name),
                Some(ends) => {
                    close(&got["low"], &ends[0], name);
                    close(&got["high"], &ends[1], name);
                }
            }
        }
    }
}

/// What must not be mixed is kept apart by the views and by the report.
#[tokio::test]
async fn twins_are_not_compared() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["twins"].as_str().unwrap();

    let query = format!(
        "select * from report.comparison where run_id = '{run}' and baseline = 'mini' order by model_source"
    );
    let got = rows(&pool, &query).await;
    let of = |source: Value, suite: &str| -> &Value {
        let like = json!({ "model_source": source, "suite": suite });
        find(&got, &like, &["model_source", "suite"])
    };
    assert_eq!(got.len(), 7, "each with its own twin and no other's");
    for source in ["/a/m", "/b/m"] {
        close(&of(source.into(), "decode")["ratio"], &3.2.into(), source);
    }
    let packed = of("/c/q".into(), "decode");
    assert_eq!(
        packed["differences"],
        json!(["model_digest", "quantisation"])
    );
    assert_eq!(packed["baseline_quantisation"], "none");
    assert_eq!(
        packed["model"], "q-packed",
        "a name that they came under before"
    );
    assert!(packed["ratio"].is_null());
    // A machine that was updated under a case, and one whose update changed nothing that matters.
    let updated = of("/d/u".into(), "decode");
    assert_eq!(updated["differences"], json!(["environment_changed"]));
    assert!(updated["ratio"].is_null());
    close(
        &of("/d/u".into(), "prefill")["ratio"],
        &3.2.into(),
        "another build of the system",
    );
    let bytes = of("/a/m".into(), "load");
    assert_eq!(
        (
            &bytes["verdict"],
            of("/a/m".into(), "decode")["verdict"].as_str()
        ),
        (&"larger".into(), Some("faster"))
    );
    // A suite about the machine has no model, and compares all the same.
    close(
        &of(Value::Null, "roofline")["ratio"],
        &3.2.into(),
        "the machine itself",
    );

    let latencies = rows(
        &pool,
        &format!("select distinct model_source, gaps from report.latency where run_id = '{run}' and model = 'm'"),
    )
    .await;
    assert_eq!(latencies.len(), 2);
    assert!(
        latencies.iter().all(|row| row["gaps"] == 196),
        "{latencies:?}"
    );

    let report = report_of(&pool, &run.parse().unwrap()).await.unwrap();
    let pairs = &report.comparison.pairs;
    let pair = |source: Option<&str>, suite: &str| {
        let found = pairs
            .iter()
            .find(|pair| pair.variant.source.as_deref() == source && pair.suite == suite);
        found.unwrap_or_else(|| panic!("no pair of {source:?}"))
    };
    assert_eq!(pairs.len(), 7);
    let packed = pair(Some("/c/q"), "decode");
    assert_eq!(packed.differences, ["model_digest", "quantisation"]);
    assert!(packed.ratio.is_none() && packed.verdict.is_none());
    for (source, suite) in [
        (Some("/a/m"), "decode"),
        (Some("/b/m"), "decode"),
        (None, "roofline"),
    ] {
        assert_eq!(pair(source, suite).verdict, Some(Verdict::Faster));
    }
    assert_eq!(
        pair(Some("/a/m"), "decode").variant.to_string(),
        "m [/a/m] (bf16)"
    );
    assert_eq!(pair(Some("/d/u"), "decode").variant.to_string(), "u (bf16)");
    // Two of the four decoding cases may be compared.
    let score = report
        .comparison
        .scores
        .iter()
        .find(|score| score.suite == "decode");
    assert_eq!(score.unwrap().cases, 2);
    pool.close().await;
}

#[tokio::test]
async fn a_run_is_found_by_name_and_rendered_whole() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run: Uuid = expected["run"].as_str().unwrap().parse().unwrap();
    let deep: Uuid = expected["deep"].as_str().unwrap().parse().unwrap();

    let files = render_run(&pool, RunChoice::Latest, &Format::ALL)
        .await
        .unwrap();
    for (format, first) in [
        ("md", "report.md"),
        ("html", "report.html"),
        ("csv", "results.csv"),
        ("json", "report.json"),
        ("parquet", "results.parquet"),
        ("svg", "models-warm-load-time-shorter-is-better.svg"),
        ("png", "models-warm-load-time-shorter-is-better.png"),
        ("txt", "summary.txt"),
    ] {
        let ending = format!(".{format}");
        let found = files.iter().find(|file| file.name.ends_with(&ending));
        assert_eq!(found.unwrap().name, first);
    }
    assert!(String::from_utf8_lossy(&files[0].bytes).contains(&run.to_string()));

    let prefix: RunChoice = run.to_string()[..8].parse().unwrap();
    assert_eq!(report_of(&pool, &prefix).await.unwrap().run.run_id, run);
    let unknown: RunChoice = "00000000".parse().unwrap();
    let refusal = report_of(&pool, &unknown).await.unwrap_err();
    assert!(
        matches!(refusal, report_gen::Error::Query(Error::NoSuchRun(_))),
        "{refusal:?}"
    );

    // Twelve launches: the headline metrics are bootstrapped, near the t interval but not equal.
    let report = report_of(&pool, &deep.into()).await.unwrap();
    let decode = report.of("decode", "decode_tps").next().unwrap();
    assert_eq!(decode.estimate.method, Method::Bootstrap);
    let medians: Vec<f64> = decode.launches.iter().map(|launch| launch.median).collect();
    let by_t = stats::estimate(&medians).unwrap().interval.unwrap();
    let bootstrapped = decode.estimate.interval.unwrap();
    let widths = (bootstrapped.high - bootstrapped.low) / (by_t.high - by_t.low);
    assert!((0.6..1.1).contains(&widths), "{widths}");
    assert!(bootstrapped.low < decode.estimate.value && decode.estimate.value < bootstrapped.high);
    pool.close().await;
}

#[tokio::test]
async fn a_reader_sees_the_views_and_nothing_else() {
    let database = Database::start();
    let mut owner = database.with_fleet("fleet").await;
    // Rebuilding leaves everything as it was, and a second database shares the role.
    build_views(&mut owner).await;
    let _second = database.with_schema("second").await;
    let pool = database.reader("fleet").await;

    let refused = sqlx::query("select 1 from fleet.run")
        .fetch_all(&pool)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );

    let views = rows(
        &pool,
        "select relname as name, obj_description(oid) as comment from pg_class
         where relnamespace = 'report'::regnamespace and relkind = 'v'",
    )
    .await;
    assert!(views.len() >= 18, "{}", views.len());
    for view in &views {
        assert!(view["comment"].is_string(), "{view} has no comment");
        let name = view["name"].as_str().unwrap();
        let counted = rows(&pool, &format!("select count(*) as n from report.{name}")).await;
        assert!(
            counted[0]["n"].as_i64().unwrap() > 0 || name == "event",
            "{name} is empty"
        );
    }
    let silent = rows(
        &pool,
        "select attrelid::regclass::text as view, attname as column
         from pg_attribute join pg_class on pg_class.oid = attrelid
         where relnamespace = 'report'::regnamespace and relkind = 'v' and attnum > 0
             and col_description(attrelid, attnum) is null",
    )
    .await;
    assert_eq!(silent, Vec::<Value>::new(), "columns without a comment");
    pool.close().await;
}
