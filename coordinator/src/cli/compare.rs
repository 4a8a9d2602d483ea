//! `compare`: one run over another, compared by the coordinator and printed here.

use std::process::ExitCode;

use proto::wire;

use super::connect::Where;
use super::exit::Failure;
use super::{report, show};

const AFTER_HELP: &str = "\
Each case of a headline metric that a machine measured in both runs is a pair. A pair has a ratio only \
where everything is equal that the numbers depend on: weights, quantisation, versions of system, MLX, agent \
and worker, the plan's protocol. Where something differs, it is named instead.

Exit codes: 0 when the runs were compared, whatever the verdicts (scripts read them from --json); 3 when \
nothing of them may be compared, with the list of what differs; the others as in mlx-fleet --help.

What did the update of MLX change on every machine?
  mlx-fleet compare 0199a3 0199c7 --across mlx_version";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The run to compare with: its id, an unambiguous beginning of it, or `latest`
    baseline: String,
    /// The run that is judged
    run: String,
    /// A condition that may differ, because it is what is compared, such as mlx_version; several are
    /// separated by commas
    #[arg(long, value_name = "CONDITION", value_delimiter = ',')]
    across: Vec<String>,
    /// Print the pairs and means as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

pub async fn compare(args: Args) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let request = wire::CompareRunsRequest {
        run: args.run,
        baseline: args.baseline,
        across: args.across,
        format: if args.json { "json" } else { "txt" }.to_owned(),
    };
    let stream = client.compare_runs(request).await?.into_inner();
    for (_, text) in report::files(stream).await? {
        show::line(String::from_utf8_lossy(text.trim_ascii_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}
