//! `inventory`: what the coordinator will know of this machine.

use std::process::ExitCode;

use agent::inventory;
use anyhow::Result;

use super::{folder, label};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Label to show with it; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

pub fn show(args: &Args) -> Result<ExitCode> {
    let labels = args.labels.iter().cloned().collect();
    let inventory = inventory::read(labels, &folder(None)?)?;
    let value = inventory::to_json(&inventory);
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
