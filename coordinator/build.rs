//! Lists the view files for `store::migrate`, and rebuilds when a migration or a view changes.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=views");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut views: Vec<PathBuf> = fs::read_dir(root.join("views"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    views.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    views.sort();

    let mut list = String::from("&[\n");
    for path in &views {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("views.rs"), list)?;
    Ok(())
}
