//! Recorded outputs of each tool, the seed's own numbers, and what must be refused.

use super::*;
use crate::catalogue;

const SEED: &str = include_str!("../../../../data/seed.csv");
/// The examples of llama-bench's own README.
const LLAMA_BENCH: &str = include_str!("../../data/import/llama-bench.json");
const LLAMA_BENCH_LINES: &str = include_str!("../../data/import/llama-bench.jsonl");
/// Made up after exo's bench/METHODOLOGY.md (commit 051a64e3) and its exo_bench.py (commit 00993ada):
/// every field that they name, and numbers that nobody measured.
const EXO_BENCH: &str = include_str!("../../data/import/exo-bench.json");
/// mlx-lm 0.32.2 with a tiny model: one sequence, then two.
const MLX_LM: &str = include_str!("../../data/import/mlx-lm.txt");

fn of_mlx_lm() -> Given {
    Given {
        machine: Some("mini".into()),
        chip: Some("Apple M2".into()),
        at: instant("2026-11-26"),
        engine_version: Some("0.32.2".into()),
        model: Some("tiny".into()),
        ..Given::default()
    }
}

/// Every value with what it is of and its doubts, a line each.
fn lines(import: &Import) -> Vec<String> {
    let mut lines = Vec::new();
    for job in &import.jobs {
        let model = job.model.as_ref().map_or("-", |model| &model.label);
        for launch in &job.launches {
            for judged in &launch.values {
                let reasons: Vec<&str> =
                    judged.reasons.iter().map(|reason| reason.code()).collect();
                lines.push(format!(
                    "{model} {} {} {} {} {}",
                    job.suite,
                    launch.case_key,
                    judged.metric,
                    judged.value,
                    reasons.join(",")
                ));
            }
        }
    }
    lines
}

#[test]
fn every_number_of_the_seed_is_kept_and_the_impossible_ones_are_named() {
    let import = read(SEED, None, &Given::default()).unwrap();
    assert_eq!(import.source, "mlx_multi_model_benchmark.py MLX 0.26.1");
    assert_eq!(import.notes, [""; 0]);
    let [machine] = &import.machines[..] else {
        panic!("one machine");
    };
    assert_eq!(machine.name, "M3 Max 128 GB");
    assert_eq!(machine.memory_bytes, Some(128 << 30));
    let lines = lines(&import);
    assert_eq!(lines.len(), 39);
    for wanted in [
        "TinyLlama 1.1B load regime=cold load_cold_ms 210 mean_only",
        "Llama 3.1 8B load regime=cold load_cold_ms 970 g5,mean_only",
        "Llama 3.1 8B load regime=cold mem_weights_bytes 13348000000 g4,mean_only",
        // 2,165 MB hold no 1,100,048,384 parameters of two bytes, however it was rounded.
        "TinyLlama 1.1B load regime=cold mem_weights_bytes 2165000000 g4,mean_only",
        // 2.2 GB may be 2.25: what was rounded away refuses nobody.
        "TinyLlama 1.1B memory prompt=32 mem_peak_bytes 2200000000 ",
        "Llama 3.1 8B memory prompt=256 mem_peak_bytes 14100000000 g4",
        "Llama 3.1 8B prefill prompt=128,depth=0,chunk=? prefill_tps_standard 25200 g2,mean_only",
        "Llama 3.1 8B prefill prompt=256,depth=0,chunk=? prefill_tps_fused 399012 g2,mean_only",
        "Llama 3.1 8B generate new=50 generate_tps 13.1 mean_only",
        "Qwen2.5 1.5B training mode=full,batch=?,sequence=? train_forward_eps 12 mean_only",
    ] {
        assert!(
            lines.iter().any(|line| line == wanted),
            "{wanted}: {lines:#?}"
        );
    }
    let with = |code: &str| lines.iter().filter(|line| line.contains(code)).count();
    assert_eq!(with("g2"), 12, "every attention rate");
    assert_eq!(with("g5"), 1);
    assert_eq!(with("g1"), 0, "slow is not impossible");
}

#[test]
fn repetitions_of_llama_bench_are_kept_each() {
    for text in [LLAMA_BENCH, LLAMA_BENCH_LINES] {
        let import = read(text, None, &Given::default()).unwrap();
        assert_eq!(import.source, "llama-bench 8cf427ff (5163)");
        let [prefill, decode] = &import.jobs[..] else {
            panic!("two jobs");
        };
        assert_eq!(
            (prefill.suite, decode.suite),
            (Suite::Prefill, Suite::Decode)
        );
        for (job, key, tokens) in [
            (prefill, "prompt=512,depth=0,chunk=512", 512),
            (decode, "new=128,depth=0", 128),
        ] {
            let [launch] = &job.launches[..] else {
                panic!("one launch");
            };
            assert_eq!(launch.case_key, key);
            assert_eq!(launch.values.len(), 5);
            for value in &launch.values {
                let seconds = value.duration.as_secs_f64();
                assert_eq!(value.work, tokens);
                assert!((value.value * seconds / tokens as f64 - 1.0).abs() < 1e-12);
                assert_eq!(value.reasons, []);
            }
        }
        let model = decode.model.as_ref().unwrap();
        assert_eq!(model.label, "Qwen2.5-7B-Instruct-Q4_K_M");
        assert_eq!(model.quantisation.as_deref(), Some("Q4_K - Medium"));
        // Found by its number of parameters, and as large as the file says.
        let identity = model.identity.as_ref().unwrap();
        assert_eq!(identity.source, "qwen2.5-7b");
        assert!(identity.weight_bytes.abs_diff(4_677_120_000) < 10);
        // The chip is no Apple's: nothing to hold its rates against, and that is said.
        assert!(import.notes[0].contains("GeForce"), "{:?}", import.notes);
    }
}

#[test]
fn conditions_in_which_tests_of_llama_bench_differ_keep_them_apart() {
    let flash = LLAMA_BENCH_LINES.replace("\"flash_attn\": false", "\"flash_attn\": true");
    let import = read(
        &(LLAMA_BENCH_LINES.to_owned() + &flash),
        None,
        &Given::default(),
    )
    .unwrap();
    let keys: Vec<&str> = import
        .jobs
        .iter()
        .flat_map(|job| &job.launches)
        .map(|launch| launch.case_key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "prompt=512,depth=0,chunk=512,flash_attn=false",
            "prompt=512,depth=0,chunk=512,flash_attn=true",
            "new=128,depth=0,flash_attn=false",
            "new=128,depth=0,flash_attn=true",
        ]
    );
}

#[test]
fn a_mean_alone_is_said_to_be_one() {
    let cut = LLAMA_BENCH_LINES.lines().map(|line| {
        let (before, _) = line.split_once(", \"samples_ns\"").unwrap();
        format!("{before}}}\n")
    });
    let import = read(&cut.collect::<String>(), None, &Given::default()).unwrap();
    let launch = &import.jobs[0].launches[0];
    assert_eq!(launch.values.len(), 1);
    assert_eq!(launch.values[0].reasons, [Reason::MeanOnly]);
    assert_eq!(
        launch.message,
        "prefill_tps: a mean of values that are not known, standard deviation 90.940578 tok/s"
    );
}

#[test]
fn an_impossible_rate_of_llama_bench_is_named() {
    let on_a_mac = Given {
        chip: Some("Apple M2".into()),
        gpu_cores: Some(10),
        ..Given::default()
    };
    // 7,100 tok/s of seven billion parameters, 119 of 4.3 GB: no M2 does either.
    let import = read(LLAMA_BENCH, None, &on_a_mac).unwrap();
    let reasons = |job: usize| &import.jobs[job].launches[0].values[0].reasons;
    assert_eq!(*reasons(0), [Reason::FlopsImpossible]);
    assert_eq!(*reasons(1), [Reason::BandwidthImpossible]);
}

#[test]
fn trials_of_mlx_lm_are_kept_and_their_mean_is_not_counted_again() {
    let import = read(MLX_LM, None, &of_mlx_lm()).unwrap();
    assert_eq!(import.source, "mlx-lm 0.32.2");
    assert_eq!(
        lines(&import)[..6],
        [
            "tiny prefill prompt=32,depth=0,chunk=? prefill_tps_mlxlm 1854.21 ",
            "tiny prefill prompt=32,depth=0,chunk=? prefill_tps_mlxlm 1618.304 ",
            "tiny prefill prompt=32,depth=0,chunk=? prefill_tps_mlxlm 1757.339 ",
            "tiny decode new=16,depth=32 decode_tps_mlxlm 337.43 ",
            "tiny decode new=16,depth=32 mem_peak_process_bytes 2000000 ",
            "tiny decode new=16,depth=32 decode_tps_mlxlm 355.741 ",
        ]
    );
    assert_eq!(lines(&import).len(), 9 + 6);
    let batch = &import.jobs[2];
    assert_eq!(
        batch.launches[0].case_key,
        "batch=2,prompt=32,new=16,lengths=equal"
    );
    // An architecture that is not named leaves the gates blind, and that is said.
    assert!(
        import.notes[0].contains("--architecture"),
        "{:?}",
        import.notes
    );

    let means: Vec<&str> = MLX_LM
        .lines()
        .filter(|line| !line.starts_with("Trial"))
        .collect();
    let import = read(&means.join("\n"), None, &of_mlx_lm()).unwrap();
    assert_eq!(
        lines(&import)[0],
        "tiny prefill prompt=32,depth=0,chunk=? prefill_tps_mlxlm 1743.285 mean_only"
    );
}

#[test]
fn what_mlx_lm_does_not_print_must_be_given() {
    let problems = read(MLX_LM, None, &Given::default()).unwrap_err();
    let help: Vec<&str> = problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
        .collect();
    for flag in ["--model", "--chip", "--date"] {
        assert!(help.iter().any(|help| help.contains(flag)), "{help:?}");
    }
    // With its architecture the gates see: 337 tok/s of Llama 8B on an M2.
    let given = Given {
        architecture: catalogue::find("llama-3.1-8b"),
        dtype: Some(Dtype::Bf16),
        ..of_mlx_lm()
    };
    let import = read(MLX_LM, None, &given).unwrap();
    let reasons = |place: usize| &import.jobs[1].launches[0].values[place].reasons;
    assert!(reasons(0).contains(&Reason::BandwidthImpossible));
    assert_eq!(*reasons(1), [Reason::MemoryImpossible]);
}

/// A file of one row, in which one word stands for another.
fn row_with(old: &str, new: &str) -> Vec<(usize, usize, String)> {
    let text = "# mlx-fleet results 1\n# a note\n\
                machine,chip,engine,date,suite,model,dtype,case,metric,value,unit,memory\n\
                m,Apple M1,x,2025-06-20,decode,t,bf16,\"new=8,depth=0\",decode_tps,1.5,tok/s,8GiB\n";
    assert!(text.contains(old), "{old}");
    let text = text.replacen(old, new, 1);
    match read(&text, None, &Given::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .into_iter()
            .map(|problem| {
                let (line, column) = problem.line_column(&text);
                (line, column, problem.message)
            })
            .collect(),
    }
}

#[test]
fn a_problem_is_told_with_its_line_and_column() {
    assert_eq!(row_with("1.5", "2.5"), []);
    for (old, new, place, word) in [
        ("results 1", "results 2", (1, 1), "first line"),
        (",value,", ",valeu,", (3, 56), "unknown column `valeu`"),
        (",metric,", ",unit,", (3, 60), "`unit` is there twice"),
        ("Apple M1", "", (4, 1), "`chip` is empty"),
        ("2025-06-20", "June", (4, 14), "`June`"),
        ("decode,t", "decod,t", (4, 25), "unknown suite `decod`"),
        ("decode,t", "decode,", (4, 1), "about a model"),
        ("bf16", "bf17", (4, 34), "`bf17`"),
        (
            "\"new=8,depth=0\"",
            "new=8",
            (4, 39),
            "no case of suite `decode`",
        ),
        ("\"new=8", "new=8", (4, 1), "quote"),
        ("decode_tps", "decode_tpz", (4, 55), "unknown metric"),
        ("1.5", "\"1,500\"", (4, 66), "no number"),
        ("1.5", "1e400", (4, 66), "no number"),
        (",tok/s", ",MB", (4, 70), "no unit of decode_tps"),
        ("8GiB", "8", (4, 76), "`8` in column `memory`"),
        (",8GiB", "", (4, 1), "11 cells under 12 columns"),
    ] {
        let problems = row_with(old, new);
        let found = problems
            .iter()
            .any(|(line, column, message)| (*line, *column) == place && message.contains(word));
        assert!(found, "{old} -> {new}: {problems:?}");
    }
}

#[test]
fn a_file_is_one_sources_and_tells_a_machine_in_one_way() {
    let more = |row: &str| {
        let text = format!(
            "# mlx-fleet results 1\nmachine,chip,engine,date,suite,model,case,metric,value\n\
             m,Apple M1,x,2025-06-20,generate,t,new=8,generate_tps,1\n{row},2025-06-20,generate,t,new=8,generate_tps,2\n"
        );
        read(&text, None, &Given::default())
    };
    let import = more("m,Apple M1,x").unwrap();
    assert_eq!(
        import.jobs[0].launches[0].values.len(),
        2,
        "iterations of one launch"
    );
    assert!(
        more("m,Apple M1,y").unwrap_err()[0]
            .message
            .contains("`y` in a file of `x`")
    );
    assert!(
        more("m,Apple M2,x").unwrap_err()[0]
            .message
            .contains("two ways")
    );
    assert_eq!(more("n,Apple M2,x").unwrap().machines.len(), 2);
}

#[test]
fn nonsense_is_refused() {
    for (text, word) in [
        ("", "no format"),
        ("hello", "no format"),
        ("# mlx-fleet results 1\n", "before its header"),
        (
            "# mlx-fleet results 1\nmachine,chip,engine,date,suite,metric,value\n",
            "no result",
        ),
        ("[{\"avg_ts\": 1}]", "missing field"),
        ("{\"avg_ts\": ", "no test of llama-bench"),
        (
            "Trial 1: prompt_tps=1, generation_tps=1, peak_memory=1",
            "before any line",
        ),
    ] {
        let problems = read(text, None, &of_mlx_lm())
            .err()
            .or_else(|| read(text, None, &Given::default()).err())
            .unwrap();
        let plain = read(text, None, &Given::default()).unwrap_err();
        let found = problems
            .iter()
            .chain(&plain)
            .any(|problem| problem.message.contains(word));
        assert!(found, "{text}: {problems:?} {plain:?}");
    }
    let zero = LLAMA_BENCH_LINES.replace("71551000", "0");
    assert!(
        read(&zero, None, &Given::default()).unwrap_err()[0]
            .message
            .contains("test 1")
    );
    let large = " ".repeat(MAX_IMPORT_BYTES + 1);
    assert!(
        read(&large, None, &Given::default()).unwrap_err()[0]
            .message
            .contains("allowed")
    );
    let flags = read(SEED, None, &of_mlx_lm()).unwrap_err();
    assert!(flags[0].message.contains("says itself"), "{flags:?}");
}

fn of_exo_bench() -> Given {
    Given {
        chip: Some("Apple M4".into()),
        at: instant("2026-11-26"),
        quantisation: Some("affine 4-bit g64".into()),
        architecture: catalogue::find("llama-3.2-1b"),
        ..Given::default()
    }
}

#[test]
fn requests_to_one_machine_of_exo_are_kept_and_the_others_are_counted() {
    let import = read(EXO_BENCH, None, &of_exo_bench()).unwrap();
    assert_eq!(import.source, "exo-bench");
    let model = "mlx-community/Llama-3.2-1B-Instruct-4bit";
    assert_eq!(
        lines(&import),
        [
            format!("{model} prefill prompt=512,depth=0,chunk=? prefill_tps 1234.5 "),
            format!("{model} decode new=128,depth=512 decode_tps_at_depth 98.25 "),
            format!("{model} decode new=128,depth=512 mem_peak_process_bytes 2500000000 "),
            format!("{model} decode new=128,depth=512 decode_tps_at_depth 98.5 "),
            format!("{model} decode new=128,depth=512 mem_peak_process_bytes 2500000000 "),
        ]
    );
    let [machines, concurrent, cached] = &import.notes[..] else {
        panic!("{:?}", import.notes);
    };
    assert!(
        machines.starts_with("requests that ran on several machines"),
        "{machines}"
    );
    assert!(concurrent.contains("beside others"), "{concurrent}");
    assert!(cached.contains("prefix cache"), "{cached}");

    // Older files are the requests alone.
    let json: serde_json::Value = serde_json::from_str(EXO_BENCH).unwrap();
    let bare = json["runs"].to_string();
    let older = read(&bare, None, &of_exo_bench()).unwrap();
    assert_eq!(lines(&older), lines(&import));
}

#[test]
fn what_is_no_result_of_exo_is_refused_with_its_place() {
    let missing = read(EXO_BENCH, None, &Given::default()).unwrap_err();
    let helps: Vec<String> = missing
        .iter()
        .filter_map(|problem| problem.help.clone())
        .collect();
    assert_eq!(helps, ["say it with --chip", "say it with --date"]);

    let broken = EXO_BENCH.replacen("\"tg\": 128,", "\"tg\": 128.5,", 1);
    let [problem] = &read(&broken, None, &of_exo_bench()).unwrap_err()[..] else {
        panic!("one problem");
    };
    assert!(
        problem.message.contains("no result of exo-bench"),
        "{problem:?}"
    );
    assert!(
        broken[..problem.span.start].ends_with("\"tg\": 128."),
        "{problem:?}"
    );
    let zero = EXO_BENCH.replacen("98.25", "0.0", 1);
    let [problem] = &read(&zero, None, &of_exo_bench()).unwrap_err()[..] else {
        panic!("one problem");
    };
    assert!(
        problem.message.contains("decode_tps_at_depth"),
        "{problem:?}"
    );
}
