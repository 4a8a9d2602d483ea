//! macOS's own tools: asked here, understood in [`output`].

pub mod output;

/// What a tool prints; None where it is missing or fails.
#[cfg(target_os = "macos")]
pub fn ask(tool: &str, args: &[&str]) -> Option<String> {
    let said = std::process::Command::new(tool).args(args).output().ok()?;
    let said = said.status.success().then_some(said.stdout)?;
    Some(String::from_utf8_lossy(&said).into_owned())
}
