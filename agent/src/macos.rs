//! macOS's own tools: asked here, understood in [`output`].

pub mod output;

/// What a tool prints, with a point in its numbers; None where it is missing or fails.
#[cfg(target_os = "macos")]
pub fn ask(tool: &str, args: &[&str]) -> Option<String> {
    let mut asked = std::process::Command::new(tool);
    let said = asked.args(args).env("LC_ALL", "C").output().ok()?;
    let said = said.status.success().then_some(said.stdout)?;
    Some(String::from_utf8_lossy(&said).into_owned())
}
