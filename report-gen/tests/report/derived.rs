//! What only several cases together show, against scipy.

use report_gen::report_of;
use serde_json::{Value, json};

use crate::database::{close, expected, find, rows};
use crate::postgres::Database;

/// What only several cases together show, by least squares and roots of scipy.
#[tokio::test]
async fn views_over_several_cases_equal_scipy() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["shapes"].as_str().unwrap();
    let of = |view: &str| format!("select * from report.{view} where run_id = '{run}'");

    let knees = rows(&pool, &of("batch_knee")).await;
    assert_eq!(knees.len(), 2);
    let [reached, open] =
        ["mini", "studio"].map(|name| find(&knees, &json!({ "machine": name }), &["machine"]));
    let want = &expected["knees"][0]["batch_knee"];
    close(&reached["batch_knee"], want, "batch_knee");
    assert_eq!(
        [
            &reached["above_size"],
            &reached["below_size"],
            &reached["clear"]
        ],
        [&json!(8), &json!(16), &json!(true)]
    );
    assert_eq!(reached["case_key"], "prompt=512,new=64,lengths=equal");
    assert_eq!(
        [
            &open["batch_knee"],
            &open["above_size"],
            &open["below_size"]
        ],
        [&Value::Null, &json!(4), &Value::Null]
    );

    let parameters = "select report.case_parameter(key, 'prompt') as text,
            report.case_number(key, 'prompt') as number
        from unnest(array['prompt=512,new=8', 'prompt=code', 'new=8']) as key";
    assert_eq!(
        rows(&pool, parameters).await,
        [
            json!({ "text": "512", "number": 512 }),
            json!({ "text": "code", "number": null }),
            json!({ "text": null, "number": null }),
        ],
        "a word is no number, and no error"
    );

    let floors = rows(&pool, &of("kernel_floor")).await;
    assert_eq!(floors.len(), 1);
    assert_eq!(floors[0]["levels"], 3);
    assert_eq!(
        floors[0]["models"][0],
        "tinyllama-1.1b-4bit (affine 4-bit g64)"
    );
    equal_columns(&floors[0], &expected["floor"]);

    let slopes = rows(&pool, &of("memory_slope")).await;
    for want in expected["slopes"].as_array().unwrap() {
        let row = find(&slopes, want, &["machine"]);
        equal_columns(row, want);
        // A fifth more than keys and values can take.
        let sound = want["machine"] == "mini";
        let reasons: &[&str] = if sound { &[] } else { &["g4"] };
        assert_eq!(
            [&row["valid"], &row["reasons"]],
            [&json!(sound), &json!(reasons)]
        );
    }

    let positions = rows(
        &pool,
        &format!("{} and suite = 'prefill'", of("position_effect")),
    )
    .await;
    for want in expected["positions"].as_array().unwrap() {
        equal_columns(find(&positions, want, &["effect"]), want);
    }
    // One case a block has one place.
    let alone = format!("{} and suite = 'decode'", of("position_effect"));
    let alone = rows(&pool, &alone).await;
    assert!(!alone.is_empty() && alone.iter().all(|row| row["effect"] == "block"));

    let report = report_of(&pool, &run.parse().unwrap()).await.unwrap();
    let counts = (
        report.knees.len(),
        report.floors.len(),
        report.memory_slopes.len(),
    );
    assert_eq!(counts, (2, 1, 2));
    let moved: Vec<&str> = report
        .position_effects
        .iter()
        .filter(|e| e.moved == Some(true))
        .map(|e| e.effect.as_str())
        .collect();
    assert_eq!(moved, ["place_in_block"]);
    let said = |words: &str| report.findings.iter().any(|f| f.text.contains(words));
    assert!(said("takes 27.00 kB for each position") && said("in the last place of a block"));
    pool.close().await;
}

/// Every number that scipy has, under its name.
fn equal_columns(row: &Value, want: &Value) {
    for (column, value) in want.as_object().unwrap() {
        if value.is_number() {
            close(&row[column], value, column);
        }
    }
}
