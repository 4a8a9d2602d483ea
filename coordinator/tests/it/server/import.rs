//! Others' results: stored as what they are, shown with their source, never taken for ours.

use proto::wire;
use tonic::{Code, Status};

use super::fake_agent::join;
use super::world::{Operator, PLAN, World};

const SEED: &str = include_str!("../../../../data/seed.csv");
const LLAMA_BENCH: &str = include_str!("../../../../crates/domain/data/import/llama-bench.json");

async fn import(
    operator: &mut Operator,
    text: &str,
    given: wire::ImportGiven,
) -> Result<wire::ImportRunResponse, Status> {
    let request = operator.request(wire::ImportRunRequest {
        text: text.to_owned(),
        file_name: "results.csv".to_owned(),
        format: String::new(),
        given: Some(given),
    });
    Ok(operator.client.import_run(request).await?.into_inner())
}

async fn import_seed(operator: &mut Operator) -> wire::ImportRunResponse {
    let given = wire::ImportGiven::default();
    let imported = import(operator, SEED, given).await.unwrap();
    assert!(imported.problems.is_empty(), "{:?}", imported.problems);
    imported
}

async fn report(operator: &mut Operator, run: &str) -> String {
    let request = operator.request(wire::RenderReportRequest {
        run: run.to_owned(),
        formats: vec!["md".to_owned()],
    });
    let mut chunks = operator
        .client
        .render_report(request)
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        bytes.extend(chunk.data);
    }
    String::from_utf8(bytes).unwrap()
}

async fn rows(operator: &mut Operator, sql: &str) -> Vec<String> {
    let rows = operator.query(sql).await.unwrap();
    let text = |row: &Vec<Option<String>>| {
        let values: Vec<&str> = row
            .iter()
            .map(|value| value.as_deref().unwrap_or("-"))
            .collect();
        values.join(" ")
    };
    rows.iter().skip(2).map(text).collect()
}

#[tokio::test]
async fn the_seeds_numbers_are_rows_with_their_source_and_the_impossible_ones_are_marked() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let imported = import_seed(&mut operator).await;
    assert_eq!((imported.values, imported.invalid), (39, 20));
    assert_eq!(imported.source, "mlx_multi_model_benchmark.py MLX 0.26.1");

    assert_eq!(
        rows(
            &mut operator,
            "select label, state, source, machines, jobs from report.run"
        )
        .await,
        ["imported succeeded mlx_multi_model_benchmark.py MLX 0.26.1 1 15"]
    );
    // Digit for digit: each number as the seed has it, in its unit.
    assert_eq!(
        rows(
            &mut operator,
            "select model, metric, estimate, ci_low, launches, valid, reasons
             from report.case_summary
             where source is not null and label = 'imported' and suite in ('load', 'generate', 'training')
             order by metric, estimate"
        )
        .await,
        [
            "Llama 3.1 8B generate_tps 13.1 - 1 t {imported,mean_only}",
            "Qwen2.5 1.5B generate_tps 64.8 - 1 t {imported,mean_only}",
            "TinyLlama 1.1B generate_tps 86.3 - 1 t {imported,mean_only}",
            "TinyLlama 1.1B load_cold_ms 210 - 1 t {imported,mean_only}",
            "Qwen2.5 1.5B load_cold_ms 530 - 1 t {imported,mean_only}",
            "Llama 3.1 8B load_cold_ms 970 - 1 f {g5,imported,mean_only}",
            "TinyLlama 1.1B mem_weights_bytes 2165000000 - 1 f {g4,imported,mean_only}",
            "Qwen2.5 1.5B mem_weights_bytes 3061000000 - 1 f {g4,imported,mean_only}",
            "Llama 3.1 8B mem_weights_bytes 13348000000 - 1 f {g4,imported,mean_only}",
            "TinyLlama 1.1B response_ms 580 - 1 t {imported,mean_only}",
            "Qwen2.5 1.5B response_ms 770 - 1 t {imported,mean_only}",
            "Llama 3.1 8B response_ms 3820 - 1 t {imported,mean_only}",
            "Llama 3.1 8B train_forward_eps 2.4 - 1 t {imported,mean_only}",
            "Qwen2.5 1.5B train_forward_eps 12 - 1 t {imported,mean_only}",
            "TinyLlama 1.1B train_forward_eps 20.7 - 1 t {imported,mean_only}",
        ]
    );
    // What the seed computed comes out of the rows.
    assert_eq!(
        rows(
            &mut operator,
            "select round((fused.value / plain.value)::numeric, 2)
             from report.sample as fused
             join report.sample as plain using (model, case_key)
             where fused.metric = 'prefill_tps_fused' and plain.metric = 'prefill_tps_standard'
                 and not fused.valid and fused.reasons @> '{g2}'
             order by report.case_parameter(case_key, 'prompt'), plain.value desc"
        )
        .await,
        ["3.22", "2.74", "4.53", "1.14", "1.56", "1.41"]
    );
    // And what it guessed: 13.1 tokens of 15.0 GB a second are no 95 GB/s.
    assert_eq!(
        rows(
            &mut operator,
            "select round(gbps::numeric, 1), round(mbu_spec::numeric, 2) from report.utilisation
             where metric = 'generate_tps' and model = 'Llama 3.1 8B'"
        )
        .await,
        ["196.6 0.49"]
    );
}

#[tokio::test]
async fn the_report_of_an_import_shows_its_figures_and_whose_they_are() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let run_id = import_seed(&mut operator).await.run_id;
    let text = report(&mut operator, &run_id).await;
    let figures = "86.3 64.8 13.1 20.7 12 2.4 210 530 970 580 770 2.165 3.061 13.348 52,790 170,201 48,731 \
                   133,484 25,200 114,244 358,751 410,504 226,544 319,313 255,653 399,012";
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "|*()†‡✗".contains(c))
        .collect();
    for figure in figures.split(' ') {
        assert!(words.contains(&figure), "{figure} is not in\n{text}");
    }
    for word in [
        r"imported from mlx\_multi\_model\_benchmark.py MLX 0.26.1",
        "nobody of this fleet measured them. 20 of them cannot be",
        "| imported |",
        "as given",
        "M3 Max 128 GB",
        "Imported file results.csv",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    // The same through every other format.
    for format in ["html", "csv", "json", "txt"] {
        let request = operator.request(wire::RenderReportRequest {
            run: run_id.clone(),
            formats: vec![format.to_owned()],
        });
        let mut chunks = operator
            .client
            .render_report(request)
            .await
            .unwrap()
            .into_inner();
        assert!(chunks.message().await.unwrap().is_some(), "{format}");
    }
}

#[tokio::test]
async fn an_imported_machine_takes_no_work_and_is_compared_with_nobody() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    import_seed(&mut operator).await;
    let states: Vec<_> = operator
        .machines()
        .await
        .into_iter()
        .map(|machine| (machine.name, machine.state))
        .collect();
    assert_eq!(
        states,
        [("M3 Max 128 GB".to_owned(), "imported".to_owned())]
    );
    // A plan for all machines means none here.
    let refused = operator.try_submit(PLAN).await.problems;
    assert!(
        refused[0].message.contains("no machine has joined"),
        "{refused:?}"
    );

    // Beside a real machine the plan is that one's alone.
    join(&world, &mut operator, "mini").await;
    operator.submit(PLAN).await;
    assert_eq!(
        world.texts("select distinct machine from report.coverage join report.run using (run_id) where label <> 'imported'").await,
        ["mini"]
    );
    // Two imported machines of one file: their numbers stand side by side, and give no ratio.
    let two = SEED.to_owned()
        + &SEED
            .lines()
            .filter(|line| line.contains(",generate,"))
            .fold(String::new(), |all, line| {
                all + &line.replace("M3 Max", "M4 Max") + "\n"
            });
    import(
        &mut operator,
        &two.replace("M3 Max 128 GB,", "M3 Max again,"),
        wire::ImportGiven::default(),
    )
    .await
    .unwrap();
    assert_eq!(
        world.number("select count(*) from report.comparison where ratio is not null or verdict is not null").await,
        0
    );
    assert_eq!(
        world.number("select count(*) from report.comparison where differences @> '{imported,environment_unknown}'").await,
        12,
        "two metrics of three models, either way"
    );
    assert_eq!(
        world
            .number("select count(*) from report.regression where verdict <> 'tainted'")
            .await,
        0
    );
}

#[tokio::test]
async fn repetitions_of_llama_bench_become_iterations_of_one_launch() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let given = wire::ImportGiven {
        machine: "studio".to_owned(),
        chip: "Apple M2 Ultra".to_owned(),
        gpu_cores: Some(76),
        ..wire::ImportGiven::default()
    };
    let imported = import(&mut operator, LLAMA_BENCH, given).await.unwrap();
    assert_eq!(
        (imported.values, imported.source.as_str()),
        (10, "llama-bench 8cf427ff (5163)")
    );
    assert_eq!(
        rows(
            &mut operator,
            "select suite, case_key, metric, round(estimate::numeric, 3), ci_low, launches, iterations, valid
             from report.case_summary order by suite"
        )
        .await,
        [
            "decode new=128,depth=0 decode_tps_sync 119.030 - 1 5 t",
            // 7,137 tokens a second of seven billion parameters are 93 TFLOP/s.
            "prefill prompt=512,depth=0,chunk=512 prefill_tps 7136.366 - 1 5 f",
        ]
    );
    assert_eq!(
        rows(
            &mut operator,
            "select iteration, duration_ns, work from report.iteration where suite = 'decode' order by 1 limit 2"
        )
        .await,
        ["0 1075361300 128", "1 1065089400 128"]
    );
}

#[tokio::test]
async fn a_file_is_imported_once_and_whole() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    // A bad row at the end: nothing of the others is stored.
    let bad = SEED.to_owned() + "no,row\n";
    let refused = import(&mut operator, &bad, wire::ImportGiven::default())
        .await
        .unwrap();
    assert_eq!(refused.problems.len(), 1, "{:?}", refused.problems);
    assert_eq!(world.number("select count(*) from fleet.run").await, 0);
    assert_eq!(world.number("select count(*) from fleet.machine").await, 0);

    let first = import_seed(&mut operator).await;
    let again = import_seed(&mut operator).await;
    assert!(!first.known && again.known);
    assert_eq!(first.run_id, again.run_id);
    assert_eq!(world.number("select count(*) from fleet.sample").await, 39);
    assert_eq!(
        world
            .texts("select kind from fleet.event where run_id is not null order by event_id")
            .await,
        ["run_imported", "run_ended"]
    );
    // Another file of the same machine is another run of it; other facts make another machine.
    let later = SEED.replace("2025-06-20", "2025-06-21");
    let later = import(&mut operator, &later, wire::ImportGiven::default())
        .await
        .unwrap();
    assert!(!later.known);
    assert_eq!(world.number("select count(*) from fleet.machine").await, 1);
    let other = SEED.replace("128GiB", "64GiB");
    let refused = import(&mut operator, &other, wire::ImportGiven::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("other facts"), "{refused}");

    // A real machine's name is its own.
    join(&world, &mut operator, "mini").await;
    let masked = SEED.replace("M3 Max 128 GB", "mini");
    let refused = import(&mut operator, &masked, wire::ImportGiven::default())
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("a machine of this fleet"),
        "{refused}"
    );
    assert_eq!(world.number("select count(*) from fleet.run").await, 2);
}

#[tokio::test]
async fn the_latest_run_was_submitted_and_an_import_only_where_none_was() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let imported = import_seed(&mut operator).await;
    let text = report(&mut operator, "latest").await;
    assert!(text.contains(&imported.run_id), "{text}");

    join(&world, &mut operator, "mini").await;
    let submitted = operator.submit(PLAN).await;
    let later = SEED.replace("2025-06-20", "2025-06-21");
    import(&mut operator, &later, wire::ImportGiven::default())
        .await
        .unwrap();
    let text = report(&mut operator, "latest").await;
    assert!(text.contains(&submitted), "{text}");
    assert_eq!(operator.cancel("latest").await, 1);
}

#[tokio::test]
async fn words_that_are_none_are_refused_by_name() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    for (given, word) in [
        (
            wire::ImportGiven {
                date: "June".to_owned(),
                ..wire::ImportGiven::default()
            },
            "`June`",
        ),
        (
            wire::ImportGiven {
                architecture: "llama-9".to_owned(),
                ..wire::ImportGiven::default()
            },
            "llama-3.1-8b",
        ),
        (
            wire::ImportGiven {
                dtype: "q4".to_owned(),
                ..wire::ImportGiven::default()
            },
            "`q4`",
        ),
    ] {
        let refused = import(&mut operator, LLAMA_BENCH, given).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(word), "{refused}");
    }
    let zero = import(&mut operator, "a\0b", wire::ImportGiven::default())
        .await
        .unwrap_err();
    assert_eq!(zero.code(), Code::InvalidArgument);
}
