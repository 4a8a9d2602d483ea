//! `model fetch|list|remove`: the models that the coordinator gives to its machines. They lie in a folder, so
//! that no coordinator has to run.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use domain::hub::{HubModel, Snapshot};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde::Serialize;
use service::hub::{self, Cache};

use super::connect::{data_dir, variable};
use super::exit::{Failure, chain};
use super::show;
use crate::huggingface::{ENDPOINT, Error, Hub};
use crate::server::MODELS;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Download a model from Hugging Face once, for all machines: whoever is granted a job with it and does
    /// not have it gets it from the coordinator
    Fetch(FetchArgs),
    /// List the models that machines can get from the coordinator
    List(ListArgs),
    /// Delete a model, at all its revisions; machines that have it keep it
    Remove(RemoveArgs),
}

#[derive(clap::Args)]
struct Place {
    /// Where the models lie that `serve --models` gives out; by default `models` in the data folder
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The coordinator's data folder
    #[arg(long, value_name = "DIR", conflicts_with = "models")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn cache(self) -> Result<Cache, Failure> {
        match self.models {
            Some(folder) => Ok(Cache::at(std::path::absolute(folder)?)),
            None => Ok(Cache::at(data_dir(self.data_dir.as_deref())?.join(MODELS))),
        }
    }
}

const HUB: &str = "\
What is asked: HF_ENDPOINT, else https://huggingface.co; through HTTPS_PROXY where it is set.
As whom: HF_TOKEN, else what `hf auth login` wrote; private and gated models need it.";

#[derive(clap::Args)]
#[command(after_help = HUB)]
pub struct FetchArgs {
    /// As in a plan: hf://ORG/NAME, or hf://ORG/NAME@REVISION
    #[arg(value_name = "MODEL")]
    model: HubModel,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct RemoveArgs {
    /// As hf://ORG/NAME
    #[arg(value_name = "MODEL")]
    model: HubModel,
    #[command(flatten)]
    place: Place,
}

/// A model as scripts see it.
#[derive(Serialize)]
struct Model {
    model: String,
    commit: String,
    bytes: u64,
    files: usize,
}

impl From<(HubModel, Snapshot)> for Model {
    fn from((model, snapshot): (HubModel, Snapshot)) -> Self {
        Self {
            model: model.to_string(),
            commit: snapshot.commit().to_string(),
            bytes: snapshot.bytes(),
            files: snapshot.files().len(),
        }
    }
}

pub async fn run(command: Command) -> Result<ExitCode, Failure> {
    // Blocking, all of it; nobody else is there to be held up.
    let work = tokio::task::spawn_blocking(|| match command {
        Command::Fetch(args) => fetch(args),
        Command::List(args) => list(args),
        Command::Remove(args) => remove(args),
    });
    work.await.map_err(Failure::broke)?
}

fn fetch(args: FetchArgs) -> Result<ExitCode, Failure> {
    let FetchArgs { model, place } = args;
    let cache = place.cache()?;
    let endpoint = variable("HF_ENDPOINT");
    let endpoint = endpoint.map_or_else(
        || ENDPOINT.to_owned(),
        |named| named.to_string_lossy().into_owned(),
    );
    let hub = Hub::new(&endpoint, token()?).map_err(told)?;
    let snapshot = hub.snapshot(&model).map_err(told)?;
    let bar = bar(snapshot.bytes());
    let fetched = hub.fetch(&cache, &model, &snapshot, |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    fetched.map_err(told)?;
    show::line(format_args!(
        "{model} is in {} ({}, commit {})",
        cache.root().display(),
        show::gigabytes(snapshot.bytes()),
        snapshot.commit()
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn told(error: Error) -> Failure {
    match error {
        Error::Unreachable { .. } | Error::Cut { .. } | Error::Status { .. } | Error::Disk(_) => {
            Failure::Broke(chain(&error))
        }
        _ => Failure::Refused(chain(&error)),
    }
}

/// Never shown.
fn token() -> Result<Option<SecretString>, Failure> {
    let set = variable("HF_TOKEN").map(|token| token.to_string_lossy().trim().to_owned());
    if let Some(token) = set {
        return Ok(Some(token.into()));
    }
    let file = hub::folders().token;
    match std::fs::read_to_string(&file) {
        Ok(token) => {
            let token = token.trim();
            Ok((!token.is_empty()).then(|| token.into()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Refused(format!(
            "cannot read the token in {}: {error}",
            file.display()
        ))),
    }
}

fn bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go";
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn list(args: ListArgs) -> Result<ExitCode, Failure> {
    let ListArgs { json, place } = args;
    let models: Vec<Model> = place
        .cache()?
        .models()
        .into_iter()
        .map(Model::from)
        .collect();
    if json {
        show::json(&models)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&["model", "size", "commit"]);
    for model in models {
        table.add_row([model.model, show::gigabytes(model.bytes), model.commit]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}

fn remove(args: RemoveArgs) -> Result<ExitCode, Failure> {
    let RemoveArgs { model, place } = args;
    if model.revision.is_some() {
        return Err(Failure::Refused(format!(
            "{model} is one revision, and all of hf://{0} goes: name hf://{0}",
            model.repository
        )));
    }
    let cache = place.cache()?;
    if cache
        .remove(&model)
        .map_err(|error| Failure::chain(&error))?
    {
        show::line(format_args!("{model} is removed"))?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Refused(format!(
        "there is no {model} in {}; `mlx-fleet model list` shows what is",
        cache.root().display()
    )))
}
