//! `which`: the machines for a model, through the view of that name and the door of `sql`.

use std::process::ExitCode;

use domain::model::Dtype;

use super::connect::Where;
use super::exit::Failure;
use super::{show, sql};

const AFTER_HELP: &str = "\
Measured machines come first, by their newest valid decode rate with its 95 % interval, all in one case; \
where nothing was measured within the context, none is. Their runs may differ in software: the rows rank, \
`mlx-fleet compare` and report.pair compare. A machine that was not measured has no rate: ceiling_tps is \
what the published bandwidth of its chip allows at the most, at context 0, and no prediction. What fits is \
arithmetic: weights, and keys and values of the context, within nine tenths of what the GPU may keep \
resident.

Which Mac answers from 16,000 tokens of context?
  mlx-fleet which qwen3-4b-4bit --context 16384";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The model's name, as reports and `report.model` have it
    model: String,
    /// Tokens that must fit beside the weights
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    context: u64,
    /// Only weights of this type: bf16, f16 or f32
    #[arg(long)]
    dtype: Option<Dtype>,
    #[arg(long, value_enum, default_value = "table")]
    format: sql::Format,
    #[command(flatten)]
    coordinator: Where,
}

pub async fn which(args: Args) -> Result<ExitCode, Failure> {
    let mut names = format!("model = {}", literal(&args.model));
    if let Some(dtype) = args.dtype {
        names = format!("{names} and dtype = {}", literal(dtype.as_str()));
    }
    let query = include_str!("which.sql")
        .replace("{context}", &args.context.to_string())
        .replace("{names}", &names);
    let mut client = args.coordinator.connect().await?;
    let answer = sql::ask(&mut client, query).await?;
    if answer.rows.is_empty() {
        let of_type = args
            .dtype
            .map_or(String::new(), |dtype| format!(" in {dtype}"));
        return Err(Failure::Refused(format!(
            "no machine of this fleet has loaded a model called `{}`{of_type}; those that were loaded: \
             mlx-fleet sql \"select distinct model, dtype from report.model\"",
            args.model
        )));
    }
    answer.print(args.format)?;
    if args.format == sql::Format::Table {
        show::note(format_args!(
            "ceiling_tps: by published bandwidth, no prediction"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A text within a statement; Postgres knows no other escape in it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_name_cannot_end_its_literal() {
        assert_eq!(literal("a'; drop"), "'a''; drop'");
    }
}
