//! `run`, `watch`, `runs`, `cancel`, `resume`: the life of a run as its operator sees it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use domain::plan::{Plan, Problem};
use proto::wire;
use tonic::Streaming;

use super::connect::{Client, Where};
use super::exit::{Failure, JOBS_FAILED, JOBS_SKIPPED, lost_link};
use super::progress::Progress;
use super::{plan, show};

/// A coordinator that restarts is waited for this long before watching gives up.
const MAX_RECONNECTS: u32 = 60;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, free of each other"
)]
pub struct RunArgs {
    /// The plan, a TOML file
    file: PathBuf,
    /// Watch until the run ends (the default)
    #[arg(long, conflicts_with = "detach")]
    watch: bool,
    /// Print the run's id alone and return at once
    #[arg(long)]
    detach: bool,
    /// Submit it this once, although the plan says `every`
    #[arg(long)]
    once: bool,
    /// Print the run's state as JSON, one object a line, at each change
    #[arg(long, conflicts_with = "detach")]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct WatchArgs {
    /// The run: its id, an unambiguous beginning of it, or `latest`
    run: String,
    /// Print the run's state as JSON, one object a line, at each change
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct RunsArgs {
    /// How many at most
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct ResumeArgs {
    /// The run: its id, an unambiguous beginning of it, or `latest`
    run: String,
    /// Watch until the run ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    coordinator: Where,
}

#[derive(clap::Args)]
pub struct CancelArgs {
    /// The run: its id, an unambiguous beginning of it, or `latest`
    run: String,
    #[command(flatten)]
    coordinator: Where,
}

pub async fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let submitted = submit(&mut client, &args.file, args.once).await?;
    if args.detach {
        show::line(&submitted.run_id)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        show::note(format_args!(
            "run {}: {}",
            submitted.run_id,
            show::counted(submitted.jobs, ["job", "jobs"])
        ));
    }
    follow_or_leave(&args.coordinator, &submitted.run_id, args.json).await
}

/// Submits a plan file; its problems are told where they stand, and nothing is stored.
pub async fn submit(
    client: &mut Client,
    file: &std::path::Path,
    once: bool,
) -> Result<wire::SubmitRunResponse, Failure> {
    let text = plan::read(file)?;
    if let Err(problems) = Plan::parse(&text) {
        plan::tell_problems(file, &text, &problems);
        return Err(Failure::Told);
    }
    let file_name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let request = wire::SubmitRunRequest {
        plan_toml: text.clone(),
        file_name,
        once,
    };
    let answer = client.submit_run(request).await?.into_inner();
    if !answer.problems.is_empty() {
        let problems: Vec<Problem> = answer.problems.iter().map(plan::problem).collect();
        plan::tell_problems(file, &text, &problems);
        return Err(Failure::Told);
    }
    for note in &answer.notes {
        show::note(format_args!("note: {note}"));
    }
    Ok(answer)
}

pub async fn watch(args: WatchArgs) -> Result<ExitCode, Failure> {
    follow_or_leave(&args.coordinator, &args.run, args.json).await
}

/// Watching can be left with Ctrl-C; the run goes on.
async fn follow_or_leave(place: &Where, run: &str, json: bool) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = follow(place, run, json) => ended.map(|ended| exit_code(&ended)),
        _ = tokio::signal::ctrl_c() => {
            if !json {
                show::note(format_args!(
                    "the run goes on; `mlx-fleet watch {run}` shows it again, `cancel` stops it"
                ));
            }
            Err(Failure::Interrupted)
        }
    }
}

/// Shows a run until it has ended, over lost connections, from whichever coordinator is there; returns its
/// last state.
pub async fn follow(place: &Where, run: &str, json: bool) -> Result<wire::RunSnapshot, Failure> {
    let mut progress = Progress::new(json);
    let mut run = run.to_owned();
    let mut lost = 0;
    loop {
        let mut stream = match begin(place, &run).await {
            Ok(stream) => stream,
            Err(Failure::Unreachable(_)) if (1..MAX_RECONNECTS).contains(&lost) => {
                lost += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let mut state = wire::RunSnapshot::default();
        loop {
            match stream.message().await {
                Ok(Some(news)) => {
                    lost = 0;
                    update(&mut state, news);
                    progress.show(&state)?;
                    let Some(row) = &state.run else { continue };
                    if row.state != "active" {
                        progress.ended();
                        return Ok(state);
                    }
                    // `latest` may be another by the next connection.
                    run.clone_from(&row.run_id);
                }
                // A coordinator that restarts ends the stream; the run goes on without it.
                Ok(None) => break,
                Err(status) if lost_link(&status) => break,
                Err(status) => return Err(status.into()),
            }
        }
        lost += 1;
    }
}

async fn begin(place: &Where, run: &str) -> Result<Streaming<wire::RunSnapshot>, Failure> {
    let mut client = place.connect().await?;
    let request = wire::WatchRunRequest {
        run: run.to_owned(),
    };
    Ok(client.watch_run(request).await?.into_inner())
}

/// The first message has every job, the others those that changed.
fn update(state: &mut wire::RunSnapshot, news: wire::RunSnapshot) {
    let is_first = state.run.is_none();
    state.run = news.run;
    if is_first {
        state.jobs = news.jobs;
        return;
    }
    for job in news.jobs {
        let known = state.jobs.iter_mut().find(|old| old.job_id == job.job_id);
        if let Some(known) = known {
            *known = job;
        }
    }
}

/// 0 when every job succeeded; failures weigh more than skipped jobs.
pub fn exit_code(ended: &wire::RunSnapshot) -> ExitCode {
    match ended.run.as_ref() {
        Some(run) if run.jobs_failed > 0 => ExitCode::from(JOBS_FAILED),
        Some(run) if run.jobs_skipped > 0 => ExitCode::from(JOBS_SKIPPED),
        _ => ExitCode::SUCCESS,
    }
}

pub async fn runs(args: RunsArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let request = wire::ListRunsRequest { limit: args.limit };
    let runs = client.list_runs(request).await?.into_inner().runs;
    if args.json {
        show::json(&runs.iter().map(show::Run::from).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        show::note("no run yet; submit a plan with `mlx-fleet run PLAN`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = show::table(&[
        "run",
        "plan",
        "data",
        "state",
        "submitted",
        "jobs",
        "launches",
    ]);
    for run in &runs {
        table.add_row([
            run.run_id.clone(),
            run.plan_name.clone(),
            run.label.clone(),
            run.state.clone(),
            show::instant(run.submitted_unix_us),
            jobs(run),
            format!("{}/{}", run.launches_done, run.launches_total),
        ]);
    }
    show::line(table)?;
    Ok(ExitCode::SUCCESS)
}

/// `16/18 (1 failed, 1 skipped)`
pub fn jobs(run: &wire::RunRow) -> String {
    let mut text = format!("{}/{}", run.jobs_succeeded, run.jobs_total);
    let doubts: Vec<String> = [(run.jobs_failed, "failed"), (run.jobs_skipped, "skipped")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if !doubts.is_empty() {
        text = format!("{text} ({})", doubts.join(", "));
    }
    text
}

pub async fn cancel(args: CancelArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let answer = client
        .cancel_run(wire::CancelRunRequest { run: args.run })
        .await?
        .into_inner();
    show::line(format_args!(
        "cancelled {} of run {}",
        show::counted(answer.jobs_cancelled, ["job", "jobs"]),
        answer.run_id
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub async fn resume(args: ResumeArgs) -> Result<ExitCode, Failure> {
    let mut client = args.coordinator.connect().await?;
    let request = wire::ResumeRunRequest { run: args.run };
    let wire::ResumeRunResponse {
        run_id,
        jobs_resumed,
        notes,
    } = client.resume_run(request).await?.into_inner();
    for note in notes {
        show::note(format_args!("note: {note}"));
    }
    let jobs = show::counted(jobs_resumed, ["job", "jobs"]);
    show::line(format_args!("resumed {jobs} of run {run_id}"))?;
    if !args.watch {
        return Ok(ExitCode::SUCCESS);
    }
    follow_or_leave(&args.coordinator, &run_id, false).await
}
