//! Models from the hub to the coordinator's folder, and from there to the machines.

mod hub;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::e2e::SMALL;
use crate::fleet::{Fleet, JOIN_TOKEN, Process, binary, mlx_fleet, start_agent, stderr, stdout};
use hub::{Asked, COMMIT, EMPTY_OBJECT, Fault, Hub};

const TOKEN: &str = "hf_neverShown";
const TINY: &str = "hf://org/tiny";
const WEIGHTS: &str = "model.safetensors";

/// Files that are called like a model's.
fn files() -> BTreeMap<String, Vec<u8>> {
    let weights = (0..300_000_u32).map(|at| (at / 7) as u8).collect();
    [
        ("config.json", b"{ \"a\": 1 }".to_vec()),
        ("generation_config.json", b"{}".to_vec()),
        (WEIGHTS, weights),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into()
}

/// `mlx-fleet model` with nothing of the tester's own tokens and folders.
fn model(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    mlx_fleet()
        .arg("model")
        .args(args)
        .arg("--models")
        .arg(dir.join("models"))
        .env("HF_HOME", dir.join("home"))
        .env_remove("HF_TOKEN")
        .env_remove("HF_TOKEN_PATH")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn fetch(dir: &Path, hub: &Hub) -> Output {
    let env = [("HF_ENDPOINT", hub.url.as_str()), ("HF_TOKEN", TOKEN)];
    model(dir, &["fetch", TINY], &env)
}

/// The ranges of the weights that were asked for, from the other host, without the token.
fn ranges(asked: &[Asked]) -> Vec<Option<&str>> {
    assert!(asked.iter().all(|asked| asked.token.is_none()), "{asked:?}");
    let weights = asked.iter().filter(|asked| asked.path.ends_with(WEIGHTS));
    weights.map(|asked| asked.range.as_deref()).collect()
}

#[test]
fn a_model_is_fetched_once_and_goes_on_where_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(TOKEN, files());
    let busy = Fault::Status("503 Service Unavailable");
    // The configuration, the small file, the weights.
    hub.faults([Fault::Cut(4), Fault::Whole]);
    hub.faults([Fault::Cut(0), busy, Fault::Whole]);
    hub.faults([
        Fault::Cut(100_000),
        Fault::Cut(50_000),
        Fault::Status("410 Gone"),
    ]);
    let given_up = fetch(dir.path(), &hub);
    assert_eq!(given_up.status.code(), Some(1), "{}", stderr(&given_up));
    assert!(
        stderr(&given_up).contains("410 Gone"),
        "{}",
        stderr(&given_up)
    );
    let [near, far] = hub.asked();
    let known = format!("Bearer {TOKEN}");
    assert!(
        near.iter()
            .all(|asked| asked.token.as_ref() == Some(&known))
    );
    assert_eq!(
        ranges(&far),
        [None, Some("bytes=100000-"), Some("bytes=150000-")]
    );
    let listed = model(dir.path(), &["list", "--json"], &[]);
    assert_eq!(
        stdout(&listed).trim(),
        "[]",
        "what is not whole is not given out"
    );

    let fetched = fetch(dir.path(), &hub);
    assert_eq!(fetched.status.code(), Some(0), "{}", stderr(&fetched));
    let [_, far] = hub.asked();
    assert_eq!(ranges(&far), [Some("bytes=150000-")]);
    assert_eq!(far.len(), 1, "the others are here");
    let again = fetch(dir.path(), &hub);
    assert!(stdout(&again).contains(COMMIT), "{}", stderr(&again));
    assert_eq!(hub.asked()[1], []);

    let snapshot = dir
        .path()
        .join("models/models--org--tiny/snapshots")
        .join(COMMIT);
    for (name, content) in files() {
        assert_eq!(fs::read(snapshot.join(&name)).unwrap(), content, "{name}");
    }
    assert_eq!(fs::read_dir(&snapshot).unwrap().count(), files().len());
    let listed: Value =
        serde_json::from_slice(&model(dir.path(), &["list", "--json"], &[]).stdout).unwrap();
    assert_eq!(listed[0]["model"], "hf://org/tiny@main");
    assert_eq!(listed[0]["files"], 3);
    for said in [&given_up, &fetched, &again] {
        assert!(!format!("{}{}", stdout(said), stderr(said)).contains(TOKEN));
    }

    let one = model(dir.path(), &["remove", "hf://org/tiny@main"], &[]);
    assert_eq!(one.status.code(), Some(3), "{}", stderr(&one));
    assert_eq!(
        model(dir.path(), &["remove", TINY], &[]).status.code(),
        Some(0)
    );
    let gone = model(dir.path(), &["remove", TINY], &[]);
    assert!(stderr(&gone).contains("model list"), "{}", stderr(&gone));
}

#[test]
fn what_is_not_what_the_hub_says_gets_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(TOKEN, files());
    // Small files have git's hash, large ones SHA-256.
    for name in ["generation_config.json", WEIGHTS] {
        // The one before it comes whole.
        hub.faults([Fault::Whole, Fault::Wrong]);
        let refused = fetch(dir.path(), &hub);
        assert_eq!(refused.status.code(), Some(1));
        let told = stderr(&refused);
        assert!(told.contains(&format!("{name} is damaged")), "{told}");
        let digest = match name {
            WEIGHTS => hex::encode(Sha256::digest(&files()[WEIGHTS])),
            _ => EMPTY_OBJECT.to_owned(),
        };
        assert!(told.contains(&digest), "{told}");
    }
    hub.asked();
    // Cut and then wrong: it may be this side's, and is fetched anew.
    hub.faults([Fault::Cut(1000), Fault::Wrong]);
    let fetched = fetch(dir.path(), &hub);
    assert_eq!(fetched.status.code(), Some(0), "{}", stderr(&fetched));
    assert_eq!(ranges(&hub.asked()[1]), [None, Some("bytes=1000-"), None]);
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(TOKEN, files());
    let gated = Hub::start("hf_x-gated", files());
    let empty = Hub::start(TOKEN, BTreeMap::new());
    let token = ("HF_TOKEN", TOKEN);
    for (name, env, expected) in [
        (TINY, vec![("HF_ENDPOINT", hub.url.as_str())], "HF_TOKEN"),
        (
            "hf://org/other",
            vec![("HF_ENDPOINT", &hub.url), token],
            "has no hf://org/other",
        ),
        (
            "hf://org/tiny@v2",
            vec![("HF_ENDPOINT", &hub.url), token],
            "has no hf://org/tiny@v2",
        ),
        (
            TINY,
            vec![("HF_ENDPOINT", &gated.url), ("HF_TOKEN", "hf_x-gated")],
            "ask for access",
        ),
        (
            TINY,
            vec![("HF_ENDPOINT", &empty.url), token],
            "no model that MLX could load",
        ),
        (
            TINY,
            vec![("HF_ENDPOINT", "http://hub.example"), token],
            "use https",
        ),
        (
            TINY,
            vec![("HF_ENDPOINT", "hub"), token],
            "no address such as",
        ),
        (
            TINY,
            vec![("HF_ENDPOINT", &hub.url), ("HF_TOKEN", "a\u{1}b")],
            "no token has",
        ),
    ] {
        let refused = model(dir.path(), &["fetch", name], &env);
        assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    for bad in ["tiny", "hf://tiny", "hf://../../etc", "hf://org/tiny@../x"] {
        let refused = model(dir.path(), &["fetch", bad], &[]);
        assert_eq!(refused.status.code(), Some(2), "{bad}");
    }
    // The token's file is found as Hugging Face's tools find it.
    fs::create_dir_all(dir.path().join("home")).unwrap();
    fs::write(dir.path().join("home/token"), format!("{TOKEN}\n")).unwrap();
    let env = [("HF_ENDPOINT", hub.url.as_str())];
    let fetched = model(dir.path(), &["fetch", TINY], &env);
    assert_eq!(fetched.status.code(), Some(0), "{}", stderr(&fetched));
}

/// The smallest real model there is, as its files.
fn nano(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let made = Command::new(binary("mlx-fleet-suite"))
        .args(["check", "--model", "synthetic:nano-llama"])
        .args(["--prompt-ids", "1", "--max-tokens", "1"])
        .env("MLX_FLEET_CACHE", dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let folder = fs::read_dir(dir.join("synthetic")).unwrap().next().unwrap();
    let files = fs::read_dir(folder.unwrap().path()).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// Loads the model, and no more.
fn plan(fleet: &Fleet, source: &str) -> String {
    let (small, _) = SMALL.split_once("[suite.prefill]").unwrap();
    fleet.write_plan(&small.replace("synthetic:nano-llama", source))
}

fn agent(fleet: &Fleet, name: &str) -> Process {
    let token = fleet.ok(&["token", "create"]);
    let cache = fleet.dir.path().join(name).join("hub");
    let env = [
        (JOIN_TOKEN, token.trim()),
        ("RUST_LOG", "info"),
        ("HF_HUB_CACHE", cache.to_str().unwrap()),
    ];
    start_agent(&fleet.dir.path().join(name), &fleet.url, &env)
}

#[test]
fn a_machine_gets_a_model_from_its_coordinator_and_measures_it() {
    let mut fleet = Fleet::start();
    let dir = fleet.dir.path().to_owned();
    let files = nano(&dir.join("nano"));
    let hub = Hub::start(TOKEN, files.clone());
    let agent = agent(&fleet, "mini");
    fleet.agents.push(agent);

    // Nobody has it: told with what to do.
    let lacking = fleet.command(&["run", &plan(&fleet, TINY)]);
    assert_eq!(lacking.status.code(), Some(4), "{}", stderr(&lacking));
    let told = format!("mlx-fleet model fetch {TINY}");
    assert!(stderr(&lacking).contains(&told), "{}", stderr(&lacking));

    let fetched = mlx_fleet()
        .args(["model", "fetch", TINY, "--data-dir"])
        .arg(fleet.data_dir())
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    drop(hub);
    for _ in 0..2 {
        let ran = fleet.command(&["run", &plan(&fleet, TINY)]);
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    }
    let counted = "select count(*) from report.sample where metric = 'load_warm_ms' \
                   and model = 'tiny' and phase = 'measured'";
    assert_eq!(fleet.value(counted), "8");
    let events = fleet.json(&["events", "--json"]);
    let sent = events.as_array().unwrap().iter();
    let sent: Vec<&Value> = sent
        .filter(|event| event["event"] == "model_sent")
        .collect();
    assert_eq!(sent.len(), 1, "once for all of its jobs: {events}");
    assert!(sent[0]["detail"].as_str().unwrap().starts_with(TINY));
    assert!(sent[0]["run_id"].is_string(), "{}", sent[0]);

    let entry = dir.join("mini/hub/models--org--tiny");
    assert_eq!(fs::read_to_string(entry.join("refs/main")).unwrap(), COMMIT);
    for (name, content) in &files {
        let file = entry.join("snapshots").join(COMMIT).join(name);
        assert!(fs::read_link(&file).unwrap().starts_with("../../blobs"));
        assert_eq!(fs::read(&file).unwrap(), *content, "{name}");
    }
    let log = fs::read_to_string(dir.join("mini/test.log")).unwrap();
    assert!(log.contains("downloading from the coordinator"), "{log}");
    assert!(!log.contains(TOKEN));
}
