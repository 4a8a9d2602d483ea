//! A cache that is filled, cut, damaged and tampered with.

use super::*;

fn model(text: &str) -> HubModel {
    text.parse().unwrap()
}

fn file(name: &str, content: &[u8], digest: &str) -> HubFile {
    HubFile {
        name: name.parse().unwrap(),
        bytes: content.len() as u64,
        digest: digest.parse().unwrap(),
    }
}

fn large(name: &str, content: &[u8]) -> HubFile {
    file(name, content, &hex::encode(Sha256::digest(content)))
}

const CONFIG: &[u8] = b"{}";
/// What `printf '{}' | git hash-object --stdin` says.
const CONFIG_DIGEST: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
const WEIGHTS: &[u8] = b"weights";

fn snapshot() -> Snapshot {
    let files = vec![
        file("config.json", CONFIG, CONFIG_DIGEST),
        large("model.safetensors", WEIGHTS),
    ];
    Snapshot::new("0a".repeat(20).parse().unwrap(), files).unwrap()
}

fn fill(cache: &Cache, model: &HubModel, file: &HubFile, content: &[u8]) -> Result<(), Error> {
    let mut part = cache.part(model, file)?.expect("it is not here yet");
    part.write(content)?;
    part.finish()
}

fn filled(cache: &Cache, model: &HubModel) {
    let snapshot = snapshot();
    for (file, content) in snapshot.files().iter().zip([CONFIG, WEIGHTS]) {
        fill(cache, model, file, content).unwrap();
    }
    cache.keep(model, &snapshot).unwrap();
}

#[test]
fn a_model_that_is_kept_is_found_by_name_and_commit_and_given_out_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("hub"));
    let main = model("hf://org/name");
    assert!(!cache.holds(&main) && cache.find(&main).is_none());
    filled(&cache, &main);
    let commit = model(&format!("hf://org/name@{}", "0a".repeat(20)));
    for named in [&main, &commit] {
        assert!(cache.holds(named), "{named}");
        assert_eq!(cache.find(named), Some(snapshot()), "{named}");
    }
    assert!(!cache.holds(&model("hf://org/name@other")));
    let listed = cache.models();
    assert_eq!(listed, [(model("hf://org/name@main"), snapshot())]);
    let weights = cache.snapshot_folder(&main).join("model.safetensors");
    assert_eq!(fs::read(weights).unwrap(), WEIGHTS);
    // Again, as after a cut just before the end.
    cache.keep(&main, &snapshot()).unwrap();
    assert!(cache.part(&main, &snapshot().files()[0]).unwrap().is_none());
    assert!(cache.remove(&main).unwrap() && !cache.remove(&main).unwrap());
    assert!(!cache.holds(&commit));
}

#[test]
fn a_part_goes_on_where_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let (model, wanted) = (model("hf://org/name"), large("model.safetensors", WEIGHTS));
    let mut part = cache.part(&model, &wanted).unwrap().unwrap();
    part.write(&WEIGHTS[..3]).unwrap();
    let busy = cache.part(&model, &wanted).unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    let short = part.finish().unwrap_err();
    assert!(matches!(short, Error::Short { bytes: 3, .. }), "{short}");
    let mut part = cache.part(&model, &wanted).unwrap().unwrap();
    assert_eq!(part.bytes(), 3);
    part.write(&WEIGHTS[3..]).unwrap();
    part.finish().unwrap();
    assert!(cache.part(&model, &wanted).unwrap().is_none());
    let mut part = cache
        .part(&model, &large("a.json", CONFIG))
        .unwrap()
        .unwrap();
    part.write(b"x").unwrap();
    part.restart().unwrap();
    part.write(CONFIG).unwrap();
    part.finish().unwrap();
}

#[test]
fn what_is_not_what_its_name_says_gets_no_name_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let model = model("hf://org/name");
    for wanted in [
        large("model.safetensors", WEIGHTS),
        file("config.json", CONFIG, CONFIG_DIGEST),
    ] {
        let content = vec![b'x'; wanted.bytes as usize];
        let damaged = fill(&cache, &model, &wanted, &content).unwrap_err();
        assert!(
            damaged.to_string().contains(wanted.digest.as_str()),
            "{damaged}"
        );
        let long = fill(&cache, &model, &wanted, &[b'x'; 100]).unwrap_err();
        assert!(long.to_string().contains("100 or more"), "{long}");
        let blob = cache.blob(&model, &wanted.digest);
        assert!(!blob.exists() && !blob.with_extension(PART).exists());
    }
}

#[test]
fn what_is_not_whole_is_neither_held_nor_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let model = model("hf://org/name");
    filled(&cache, &model);
    let folder = cache.snapshot_folder(&model);
    let index = folder.join(hub::INDEX);
    fs::write(&index, r#"{"weight_map": {"a": "model-2.safetensors"}}"#).unwrap();
    assert!(!cache.holds(&model) && cache.find(&model).is_none());
    fs::remove_file(&index).unwrap();
    assert!(cache.holds(&model));
    fs::remove_file(cache.blob(&model, &snapshot().files()[1].digest)).unwrap();
    assert!(!cache.holds(&model) && cache.find(&model).is_none());
}

#[test]
fn files_that_are_not_called_by_their_hash_are_used_here_and_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let model = model("hf://org/name");
    filled(&cache, &model);
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let folder = cache.snapshot_folder(&model);
    symlink(&secret, folder.join("secret.txt")).unwrap();
    fs::write(folder.join("own.json"), "{}").unwrap();
    assert_eq!(cache.find(&model), Some(snapshot()));
    let weights = folder.join("model.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::write(&weights, WEIGHTS).unwrap();
    assert!(cache.holds(&model), "a tool may copy instead of linking");
    assert_eq!(cache.find(&model), None);
}

#[test]
fn a_model_that_finds_no_room_is_told_with_both_figures() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let model = model("hf://org/name");
    cache.check_room(&model, &snapshot()).unwrap();
    let mut files = snapshot().files().to_vec();
    files[1].bytes = 1 << 60;
    let giant = Snapshot::new(snapshot().commit().clone(), files).unwrap();
    let refused = cache.check_room(&model, &giant).unwrap_err().to_string();
    assert!(refused.contains("hf://org/name needs 115"), "{refused}");
}
