//! The worker's program as agents are given it: starts the real one, passes its frames on, and writes each
//! iteration to a log that no part of the product knows.
//!
//! Standard input and error are the worker's own. A frame is passed on before it is logged: what stands in
//! a log was in the agent's pipe.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use domain::worker::{Frame, Iteration};
use proto::{frame, wire};

/// Held by the witness of the one worker that a machine may have.
const ALONE: &str = "alone.lock";
/// One file for each worker that was not alone.
const CROWD: &str = "crowd";
const LOG: &str = "log";

#[derive(clap::Args)]
#[command(about = "Start a worker and log what it says (for chaos)")]
pub struct Args {
    #[arg(long)]
    suite: PathBuf,
    /// Where logs go
    #[arg(long)]
    folder: PathBuf,
    /// What the agent tells its worker
    #[arg(last = true)]
    args: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let mine = format!("{}-{}", now_ms(), std::process::id());
    let alone = File::create(args.folder.join(ALONE))?;
    match alone.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            File::create(args.folder.join(&mine).with_extension(CROWD))?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut worker = Command::new(&args.suite)
        .args(&args.args)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", args.suite.display()))?;
    let mut said = BufReader::new(worker.stdout.take().context("a pipe")?);
    let mut log = File::create(args.folder.join(&mine).with_extension(LOG))?;
    let mut agent = io::stdout().lock();
    // A worker that is killed may end inside a frame.
    while let Ok(Some(frame)) = frame::read::<wire::WorkerFrame>(&mut said) {
        if frame::write(&mut agent, &frame).is_err() {
            break;
        }
        if let Some(wire::worker_frame::Frame::Iteration(_)) = frame.frame {
            let mut entry = now_ms().to_le_bytes().to_vec();
            frame::write(&mut entry, &frame)?;
            log.write_all(&entry)?;
        }
    }
    drop(said);
    let status = worker.wait()?;
    exit(
        status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .unwrap_or(1),
    );
}

/// What one worker said, and when.
pub struct Testimony {
    pub log: PathBuf,
    pub iterations: Vec<(u64, Iteration)>,
}

/// All that was witnessed in a folder, and how many workers were not alone on their machine.
pub fn read(folder: &Path) -> Result<(Vec<Testimony>, usize)> {
    let (mut all, mut crowd) = (Vec::new(), 0);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(LOG) => all.push(testimony(path)?),
            Some(CROWD) => crowd += 1,
            _ => {}
        }
    }
    Ok((all, crowd))
}

fn testimony(log: PathBuf) -> Result<Testimony> {
    let mut bytes = BufReader::new(File::open(&log)?);
    let mut iterations = Vec::new();
    let mut at = [0; 8];
    while bytes.read_exact(&mut at).is_ok() {
        // The witness may have been killed while it wrote.
        let Ok(Some(frame)) = frame::read::<wire::WorkerFrame>(&mut bytes) else {
            break;
        };
        if let Frame::Iteration(iteration) = Frame::try_from(frame)? {
            iterations.push((u64::from_le_bytes(at), iteration));
        }
    }
    Ok(Testimony { log, iterations })
}

pub fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == LOG || extension == CROWD)
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The program that an agent is given: agents start theirs with `run` alone. What `cargo xtask` started is not
/// there any more once the workspace is built, so both come out of that build.
pub fn install(program: &Path, binaries: &Path, folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder)?;
    let text = format!(
        "#!/bin/sh\nexec '{}' witness --suite '{}' --folder '{}' -- \"$@\"\n",
        binaries.join("xtask").display(),
        binaries.join("mlx-fleet-suite").display(),
        folder.display()
    );
    fs::write(program, text)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// By the wall clock, which all processes here share.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
