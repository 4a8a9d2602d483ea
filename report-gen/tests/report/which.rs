//! Which machine for which model: SQL's rule of what fits is the one that plans are expanded by, and
//! the seeded fleet is ranked by what it measured.

use domain::machine::Inventory;
use report_gen::report_of;
use serde_json::{Value, json};

use crate::database::{close, expected, find, rows};
use crate::postgres::{Database, read, repository};

const GB: u64 = 1_000_000_000;

#[tokio::test]
async fn what_fits_by_the_view_is_what_a_plan_would_run() {
    let database = Database::start();
    let mut owner = database.with_schema("fleet").await;
    for os in ["macos", "linux"] {
        for memory_bytes in [8 * GB, 36 * GB, 36 * GB + 1, 48 * GB, 128 << 30] {
            for wired_limit_bytes in [None, Some(7 * GB + 7), Some(96 << 30)] {
                let machine = Inventory {
                    os: os.to_owned(),
                    memory_bytes,
                    wired_limit_bytes,
                    ..Inventory::default()
                };
                let got: i64 = sqlx::query_scalar("select report.model_limit_bytes($1, $2, $3)")
                    .bind(os)
                    .bind(memory_bytes as i64)
                    .bind(wired_limit_bytes.map(|bytes| bytes as i64))
                    .fetch_one(&mut owner)
                    .await
                    .unwrap();
                assert_eq!(got as u64, machine.model_limit_bytes(), "{machine:?}");
            }
        }
    }
    let unknown: Option<i64> =
        sqlx::query_scalar("select report.model_limit_bytes('macos', 0, null)")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!(unknown, None);
}

#[tokio::test]
async fn machines_are_ranked_by_their_newest_sound_rate() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["run"].as_str().unwrap();

    let query = "select * from report.which_machine
        where model = 'qwen3-0.6b' and dtype = 'bf16' and case_key = 'new=128,depth=0'
        order by estimate desc nulls last";
    let got = rows(&pool, query).await;
    let column = |name: &str| {
        got.iter()
            .map(|row| row[name].clone())
            .collect::<Vec<Value>>()
    };
    assert_eq!(column("machine"), ["studio", "mini", "air", "attic"]);
    assert_eq!(
        column("standing"),
        ["measured", "measured", "measured", "fits, not measured"]
    );
    for row in &got[..3] {
        // `mini` has ten nights of this case before it.
        assert_eq!(row["run_id"], run, "{row}");
        let like = json!({
            "machine": row["machine"], "model": "qwen3-0.6b", "dtype": "bf16", "suite": "decode",
            "case_key": "new=128,depth=0", "metric": "decode_tps",
        });
        let keys = ["machine", "model", "dtype", "suite", "case_key", "metric"];
        let want = find(expected["summaries"].as_array().unwrap(), &like, &keys);
        for column in ["estimate", "ci_low", "ci_high"] {
            close(&row[column], &want[column], column);
        }
    }
    // 68.25 GB/s, and 1.19 GB for each token.
    close(
        &got[3]["decode_ceiling_tps"],
        &json!(68.25e9 / 1_192_099_840.0),
        "ceiling of an M1",
    );
    assert!(got[3]["estimate"].is_null());

    // Nobody has loaded it here: it was too large for the machine that was asked.
    let query = "select machine, standing, context_tokens from report.which_machine
        where model = 'llama-3.1-8b' order by machine";
    let got = rows(&pool, query).await;
    let too_small = json!({ "machine": "attic", "standing": "would not fit", "context_tokens": 0 });
    assert_eq!(got[1], too_small);
    let room = (96_i64 << 30) / 4 * 3 / 10 * 9 - 16_060_522_496;
    assert_eq!(got[3]["context_tokens"], room / 131_072, "{}", got[3]);

    // As the command asks: one case for all, the deepest within the context that most have.
    let command = |context: u64| {
        let query = read(&repository("coordinator/src/cli/which.sql"));
        let names = "model = 'qwen3-0.6b' and dtype = 'bf16'";
        query
            .replace("{context}", &context.to_string())
            .replace("{names}", names)
    };
    for (context, case) in [(4096, "new=128,depth=2048"), (512, "new=128,depth=0")] {
        let got = rows(&pool, &command(context)).await;
        let column = |name: &str| {
            got.iter()
                .map(|row| row[name].clone())
                .collect::<Vec<Value>>()
        };
        assert_eq!(column("machine"), ["studio", "mini", "air", "attic"]);
        assert_eq!(
            column("case"),
            [json!(case), json!(case), json!(case), Value::Null]
        );
    }
    let got = rows(&pool, &command(1 << 20)).await;
    assert_eq!(got.len(), 4);
    assert!(
        got.iter().all(|row| row["standing"] == "would not fit"),
        "{got:?}"
    );

    let report = report_of(&pool, &run.parse().unwrap()).await.unwrap();
    assert_eq!(report.fits.len(), 4 * 4, "its models on the whole fleet");
    pool.close().await;
}
