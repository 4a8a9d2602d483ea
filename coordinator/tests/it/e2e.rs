//! The main job, end to end: a plan goes in, real MLX runs in worker processes, samples come back
//! over TLS into Postgres, and a report comes out.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::fleet::{Fleet, eventually, mlx_fleet, stderr, stdout};

/// Small enough for seconds, large enough to have every kind of record.
pub const SMALL: &str = r#"
name = "small"
[protocol]
launches = 2
iterations = 2
min_region = "20ms"
warmup_max_iterations = 4
gate_timeout = "0s"
canary = false
[[model]]
source = "synthetic:nano-llama"
[suite.load]
regimes = ["warm"]
[suite.prefill]
prompt_tokens = [64]
[suite.decode]
new_tokens = [16]
"#;

#[test]
fn up_runs_a_plan_on_this_machine_and_ends_with_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("small.toml");
    fs::write(&plan, SMALL).unwrap();
    let output = mlx_fleet()
        .args(["up", "--plan"])
        .arg(&plan)
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .arg("--report-dir")
        .arg(dir.path().join("report"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{out}{err}");
    let report = out
        .lines()
        .last()
        .unwrap()
        .strip_prefix("report: ")
        .expect("the last line");
    let html = fs::read_to_string(report).unwrap();
    assert!(html.contains("nano-llama"));
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!html.contains(outside), "the report reaches out: {outside}");
    }
    let text = fs::read_to_string(Path::new(report).with_extension("md")).unwrap();
    assert!(
        text.contains("decode_tps") || text.contains("Decode"),
        "{text}"
    );
    // Nothing is left running: the folder's server is gone, so a second run can have it.
    assert!(
        !dir.path()
            .join("data/postgres/cluster/postmaster.pid")
            .exists()
    );
}

#[test]
fn an_operator_runs_watches_queries_and_reports() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let plan = fleet.write_plan(&SMALL.replace("canary = false", "canary = true"));

    let checked = fleet.json(&["plan", "check", &plan, "--json"]);
    assert_eq!(checked["jobs"].as_array().unwrap().len(), 3);

    let run = fleet.ok(&["run", &plan, "--detach"]);
    let run = run.trim();
    assert_eq!(run.len(), 36, "the id alone: {run}");
    let watched = fleet.command(&["watch", run]);
    assert_eq!(watched.status.code(), Some(0), "{}", stderr(&watched));

    // Two launches of two measured iterations for each suite; decode has two modes.
    let count = |suite: &str, metric: &str| {
        fleet.value(&format!(
            "select count(*) from report.sample where run_id = '{run}' and suite = '{suite}' \
             and metric = '{metric}' and phase = 'measured'"
        ))
    };
    assert_eq!(count("load", "load_warm_ms"), "4");
    assert_eq!(count("prefill", "prefill_tps"), "4");
    assert_eq!(count("decode", "decode_tps"), "4");
    assert_eq!(count("decode", "decode_tps_sync"), "4");

    // A canary of each job's first launch before it, and of every launch after it; and what the sensors
    // cost. One of a machine without a fast BLAS takes too long, and then there is none.
    let heats = fleet.value(
        "select concat_ws(' ', count(*), bool_and(coalesce(canary_gemm_ratio_after
             between 0.01 and 1 and canary_stream_gbps_before > 0
             and sensors_cost_pct between sensors_cost_pct_low and sensors_cost_pct_high, true)))
         from report.heat",
    );
    assert_eq!(heats, "6 t");

    // The headline is recomputable from the raw token times.
    let off = fleet.value(
        "select count(*) from report.sample s join report.iteration i using (launch_id, iteration) \
         where s.metric = 'decode_tps' and abs(s.value / ((i.work - 1) * 1e9 / \
         (i.token_ns[array_upper(i.token_ns, 1)] - i.token_ns[1])) - 1) > 1e-6",
    );
    assert_eq!(off, "0");

    let summary = fleet.json(&[
        "sql",
        "select launches, estimate > 0 as positive, ci_low <= estimate and estimate <= ci_high as inside \
         from report.case_summary where metric = 'decode_tps'",
        "--format",
        "json",
    ]);
    assert_eq!(summary[0]["launches"], 2);
    assert_eq!(summary[0]["inside"], true);

    which_machine(&fleet);

    for query in [
        "delete from fleet.run",
        "select * from fleet.sample",
        "create table x (a int)",
    ] {
        let refused = fleet.command(&["sql", query]);
        assert_eq!(
            refused.status.code(),
            Some(3),
            "{query}: {}",
            stderr(&refused)
        );
    }

    let out = fleet.dir.path().join("out");
    let written = fleet.ok(&[
        "report",
        "latest",
        "--format",
        "md",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(
        fs::read_to_string(written.trim())
            .unwrap()
            .contains("nano-llama")
    );

    let itself = fleet.command(&["compare", run, run]);
    assert_eq!(itself.status.code(), Some(3), "{}", stderr(&itself));

    // From elsewhere: by address and token alone.
    let token = fleet.data_dir().join("operator.token");
    let listed = mlx_fleet()
        .args(["runs", "--json", "--coordinator", &fleet.url])
        .env("MLX_FLEET_TOKEN_FILE", token)
        .output()
        .unwrap();
    assert!(stdout(&listed).contains(run), "{}", stderr(&listed));

    let postmaster = fleet.data_dir().join("postgres/cluster/postmaster.pid");
    assert!(postmaster.exists());
    assert_eq!(
        fleet.stop(),
        [Some(0), Some(0)],
        "the agent, the coordinator"
    );
    assert!(!postmaster.exists(), "the database ends with its owner");
}

fn which_machine(fleet: &Fleet) {
    // A debug build's numbers are invalid, and what is invalid ranks nobody.
    let which = fleet.json(&["which", "nano-llama", "--format", "json"]);
    assert_eq!(which[0]["standing"], "fits, not measured", "{which}");
    let far = [
        "which",
        "nano-llama",
        "--context",
        "4294967296",
        "--format",
        "json",
    ];
    let far = fleet.json(&far);
    assert_eq!(far[0]["standing"], "would not fit", "{far}");
    let unknown = fleet.command(&["which", "o'nano"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", stderr(&unknown));
    assert!(
        stderr(&unknown).contains("`o'nano`"),
        "{}",
        stderr(&unknown)
    );
}

#[test]
fn killed_agents_and_coordinators_lose_and_double_nothing() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let plan = fleet.write_plan(&SMALL.replace("launches = 2", "launches = 6"));
    let run = fleet.ok(&["run", &plan, "--detach"]);
    let run = run.trim().to_owned();
    let counted = |fleet: &Fleet| {
        let query =
            format!("select count(*) from report.launch where run_id = '{run}' and counted");
        fleet.value(&query).parse::<u32>().unwrap()
    };
    eventually("the first launches are in", || {
        (counted(&fleet) >= 2).then_some(())
    });
    fleet.agents.pop().unwrap().kill();
    let before = counted(&fleet);
    fleet.start_agent();
    eventually("the run goes on", || {
        (counted(&fleet) > before).then_some(())
    });
    let mut watching = mlx_fleet()
        .args(["watch", &run, "--json", "--data-dir"])
        .arg(fleet.data_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    watching
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .expect("it watches");
    fleet.crash_and_restart_coordinator();
    let watched = watching.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(0), "{}", stderr(&watched));
    assert_eq!(
        counted(&fleet),
        18,
        "three suites of six launches, each counted once"
    );
    let doubled = fleet.value(&format!(
        "select count(*) from (select 1 from report.launch where run_id = '{run}' and counted \
         group by job_id, case_key, launch having count(*) > 1) d"
    ));
    assert_eq!(doubled, "0");
}

#[test]
fn checkpoints_that_mlx_lm_wrote_run_like_any_model() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join(".tools/parity-venv/bin/python");
    assert!(python.exists(), "mlx-lm is missing: run deploy/parity-venv");
    let mut fleet = Fleet::start();
    let models = fleet.dir.path().join("models");
    let script = root.join("coordinator/tests/checkpoints.py");
    let written = Command::new(python)
        .arg(script)
        .arg(&models)
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", stderr(&written));

    let mut plan = SMALL.replace("[[model]]\nsource = \"synthetic:nano-llama\"\n", "");
    for entry in fs::read_dir(&models).unwrap() {
        let source = entry.unwrap().path();
        plan = format!("{plan}[[model]]\nsource = {source:?}\n");
    }
    fleet.start_agent();
    let ran = fleet.command(&["run", &fleet.write_plan(&plan)]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));

    // The label is the folder's name; the quantisation is what the files hold.
    let found = fleet.ok(&[
        "sql",
        "select distinct model, quantisation from report.sample where metric = 'decode_tps' order by 1",
        "--format",
        "csv",
    ]);
    let mut expected = "model,quantisation\n".to_owned();
    for kind in ["llama", "qwen2", "qwen3"] {
        for (name, held) in [
            ("bf16", "none"),
            ("q4", "affine 4-bit g64"),
            ("q8", "affine 8-bit g64"),
        ] {
            expected = format!("{expected}{kind}-{name},{held}\n");
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn bad_weights_and_giants_end_their_job_and_say_why() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let broken = fleet.dir.path().join("broken");
    fs::create_dir_all(&broken).unwrap();
    let config = domain::catalogue::find("nano-llama")
        .unwrap()
        .config_json("bfloat16");
    fs::write(broken.join("config.json"), config.to_string()).unwrap();
    // A header that announces more bytes than there are.
    fs::write(
        broken.join("model.safetensors"),
        b"\xff\x00\x00\x00\x00\x00\x00\x00{}",
    )
    .unwrap();
    let text = SMALL.replace("synthetic:nano-llama", broken.to_str().unwrap());
    let plan = fleet.write_plan(&text);
    let ran = fleet.command(&["run", &plan]);
    assert_eq!(ran.status.code(), Some(4), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("model.safetensors"),
        "{}",
        stderr(&ran)
    );

    let giant = SMALL.replace("nano-llama\"", "llama-3.1-8b\"\ndtypes = [\"f32\"]");
    let giant = giant.replace("[suite.load]", "[machines]\n[suite.load]");
    let memory: u64 = fleet
        .value("select memory_bytes from report.machine")
        .parse()
        .unwrap();
    if memory < 32_000_000_000 {
        let ran = fleet.command(&["run", &fleet.write_plan(&giant)]);
        assert_eq!(ran.status.code(), Some(5), "{}", stderr(&ran));
        assert!(
            stderr(&ran).contains("would not fit, needs 32."),
            "{}",
            stderr(&ran)
        );
    }
}

/// The least of the quick plan: its first model alone, and one launch of each case.
fn quickest() -> String {
    let quick = include_str!("../../../plans/quick.toml");
    let second = "[[model]]\nsource = \"synthetic:nano-llama\"\ndtypes = [\"bf16\"]";
    let (first, others) = quick.split_once(second).unwrap();
    let (_, suites) = others.split_once("# A suite runs").unwrap();
    let first = first.replace("launches = 3\n", "launches = 1\n");
    let first = first.replace("iterations = 3\n", "iterations = 1\n");
    format!("{first}# A suite runs{suites}")
}

#[test]
fn every_suite_goes_the_whole_way_and_is_read_back_by_sql() {
    let mut fleet = Fleet::start();
    fleet.start_agent();
    let plan = fleet.write_plan(&quickest());
    let run = fleet.ok(&["run", &plan, "--detach"]);
    let run = run.trim();
    fleet.ok(&["watch", run]);
    let query = format!(
        "select suite || ' ' || metric from report.case_summary \
         where run_id = '{run}' and estimate > 0 group by suite, metric"
    );
    let told = fleet.ok(&["sql", &query, "--format", "csv"]);
    let expected = [
        (
            "load",
            &["load_cold_ms", "load_warm_ms", "mem_weights_bytes"][..],
        ),
        ("prefill", &["prefill_tps", "ttft_ms"]),
        ("decode", &["decode_tps", "decode_tps_sync", "itl_ms"]),
        ("generate", &["generate_tps", "response_ms"]),
        ("memory", &["mem_peak_bytes", "mem_activation_bytes"]),
        ("attention", &["attn_us_standard", "attn_flops"]),
        (
            "training",
            &["train_tps", "train_step_ms", "train_forward_eps"],
        ),
        ("quantization", &["quant_speedup_decode", "quant_mem_ratio"]),
        (
            "batch",
            &["batch_decode_tps", "batch_speedup", "batch_prefill_tps"],
        ),
        (
            "speculative",
            &["spec_speedup", "spec_accept_rate", "spec_decode_tps"],
        ),
        ("sustained", &["sustained_tps"]),
        (
            "roofline",
            &["stream_gbps", "gemm_tflops_fp32", "dispatch_us"],
        ),
    ];
    for suite in domain::suite::Suite::ALL {
        let (_, metrics) = expected
            .iter()
            .find(|(name, _)| *name == suite.as_str())
            .unwrap();
        for metric in *metrics {
            let row = format!("{suite} {metric}");
            assert!(
                told.lines().any(|line| line == row),
                "{row} is not in {told}"
            );
        }
    }
    let states = "select string_agg(distinct state, ' ') from report.job";
    assert_eq!(fleet.value(states), "succeeded");
    let out = fleet.dir.path().join("report");
    let out = out.to_str().unwrap();
    let written = fleet.ok(&["report", run, "--format", "md", "--out", out]);
    let report = fs::read_to_string(written.trim()).unwrap();
    for suite in domain::suite::Suite::ALL {
        assert!(
            report.contains(suite.as_str()),
            "{suite} is not in {written}"
        );
    }
}

#[test]
fn bad_plans_are_refused_where_they_are_wrong_and_nothing_is_stored() {
    let fleet = Fleet::start();
    for (good, bad, expected) in [
        ("launches", "lanches", "did you mean `launches`?"),
        ("suite.decode", "suite.decod", "did you mean `decode`?"),
        ("nano-llama", "nano-lama", "did you mean `nano-llama`?"),
        ("[16]", "\"all\"", "plan.toml:17:14"),
    ] {
        let plan = fleet.write_plan(&SMALL.replace(good, bad));
        let refused = fleet.command(&["run", &plan, "--detach"]);
        assert_eq!(refused.status.code(), Some(3));
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    let nobody = fleet.command(&["run", &fleet.write_plan(SMALL), "--detach"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(stderr(&nobody).contains("machine"), "{}", stderr(&nobody));
    let missing = fleet.command(&["run", "no-such-plan.toml"]);
    assert!(stderr(&missing).contains("no-such-plan.toml"));
    assert_eq!(fleet.json(&["runs", "--json"]).as_array().unwrap().len(), 0);
}
