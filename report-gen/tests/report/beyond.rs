//! Beyond one run and its launches: heat and noise by the views, and a run's numbers over the runs before it.

use report_gen::report_of;
use report_gen::stats::Verdict;

use crate::database::{close, expected, find, rows};
use crate::postgres::Database;

#[tokio::test]
async fn noise_and_steps_equal_numpys_and_scipys() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let expected = expected();
    let run = expected["run"].as_str().unwrap();

    let query =
        format!("select * from report.noise where run_id = '{run}' and suite <> 'roofline'");
    let got = rows(&pool, &query).await;
    let noises = expected["noises"].as_array().unwrap();
    assert_eq!(got.len(), noises.len());
    for want in noises {
        let row = find(&got, want, &["machine", "suite", "metric"]);
        assert_eq!(
            (&row["cases"], &row["launches"]),
            (&want["cases"], &want["launches"])
        );
        for column in ["within_cv", "between_cv", "worst_between_cv"] {
            close(&row[column], &want[column], column);
        }
    }

    let want = &expected["step"];
    let weekly = want["run"].as_str().unwrap().parse().unwrap();
    let report = report_of(&pool, &weekly).await.unwrap();
    let history = report.histories.iter().find(|h| h.metric == "decode_tps");
    let history = history.unwrap();
    assert_eq!(history.points.len(), 14, "no other plan's runs");
    assert!(history.points[5].tainted && history.points[5].value < 0.7 * history.points[4].value);
    let [step] = &history.steps[..] else {
        panic!("{:?}", history.steps);
    };
    assert_eq!(want["since"], step.run_id.to_string());
    close(&step.ratio.value.into(), &want["ratio"], "ratio");
    let interval = step.ratio.interval.unwrap();
    close(&interval.low.into(), &want["ci_low"], "ci_low");
    close(&interval.high.into(), &want["ci_high"], "ci_high");
    assert_eq!((step.verdict, step.p_holm < 0.001), (Verdict::Slower, true));
    assert_eq!(step.changes, ["MLX 0.31.1 → 0.32.2"]);
    pool.close().await;
}

/// Only two machines have sensors, and only of the f32 model's decoding.
#[tokio::test]
async fn a_timeline_has_what_the_sensors_read_while_its_launch_lived() {
    let database = Database::start();
    let _owner = database.with_fleet("fleet").await;
    let pool = database.reader("fleet").await;
    let run = expected()["run"].as_str().unwrap().parse().unwrap();
    let report = report_of(&pool, &run).await.unwrap();
    assert_eq!(report.timelines.len(), 6);
    for timeline in &report.timelines {
        assert_ne!(timeline.machine, "air", "it has no sensors");
        let sensors: Vec<&str> = timeline.tracks.iter().map(|t| t.sensor.as_str()).collect();
        assert_eq!(sensors, ["gpu_mhz", "gpu_power_w", "gpu_temp_c"]);
        let power = &timeline.tracks[1];
        assert_eq!(power.unit, "W");
        // One reading a second, 12 W and 14 W in turn, from the launch's first moment on.
        for (second, (at_s, watts)) in power.points.iter().enumerate() {
            assert!((at_s - second as f64).abs() < 1e-6, "{:?}", power.points);
            assert!((watts - (12.0 + 2.0 * (second % 2) as f64)).abs() < 1e-9);
        }
        assert!(power.points.len() > 5, "{:?}", power.points);
    }
    pool.close().await;
}
