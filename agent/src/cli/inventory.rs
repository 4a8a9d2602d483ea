//! `inventory`: what the coordinator will know of this machine, and which MLX its worker runs.

use std::process::ExitCode;

use agent::enrol::{self, Wishes};
use agent::{inventory, software};
use anyhow::Result;

use super::{Place, folder, label, runtime, suite};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Label to show with it; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    place: Place,
}

pub fn show(args: &Args) -> Result<ExitCode> {
    let labels = args.labels.iter().cloned().collect();
    let folder = folder(args.place.data_dir.as_deref())?;
    let fleet = enrol::fleet(&folder, &Wishes::default())?;
    let inventory = inventory::read(labels, &folder, fleet)?;
    let mut value = inventory::to_json(&inventory);
    value["mlx"] = match suite(args.place.suite.as_deref()) {
        Ok(suite) => match runtime()?.block_on(software::ask(&suite)) {
            Ok(software) => serde_json::to_value(&software)?,
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        },
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    };
    match (args.json, value.as_object()) {
        (false, Some(fields)) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) => println!("{name}: {text}"),
                    None => println!("{name}: {value}"),
                }
            }
        }
        _ => println!("{value}"),
    }
    Ok(ExitCode::SUCCESS)
}
