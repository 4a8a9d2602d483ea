//! Conversions of a model's files.

use domain::hub::{HubFile, MAX_FILES, Snapshot};

use crate::refusal::{Refusal, amount, few, parse};
use crate::wire;

impl From<Snapshot> for wire::FindModelResponse {
    fn from(snapshot: Snapshot) -> Self {
        let file = |file: &HubFile| {
            let HubFile {
                name,
                bytes,
                digest,
            } = file;
            wire::ModelFile {
                name: name.to_string(),
                bytes: *bytes,
                digest: digest.to_string(),
            }
        };
        Self {
            commit: snapshot.commit().to_string(),
            files: snapshot.files().iter().map(file).collect(),
        }
    }
}

impl TryFrom<wire::FindModelResponse> for Snapshot {
    type Error = Refusal;

    fn try_from(message: wire::FindModelResponse) -> Result<Self, Refusal> {
        let wire::FindModelResponse { commit, files } = message;
        let file = |file: wire::ModelFile| -> Result<HubFile, Refusal> {
            let wire::ModelFile {
                name,
                bytes,
                digest,
            } = file;
            Ok(HubFile {
                name: parse(&name, "name")?,
                bytes: amount(bytes, "bytes")?,
                digest: parse(&digest, "digest")?,
            })
        };
        let files = few(files, MAX_FILES, "files")?.into_iter().map(file);
        let files = files.collect::<Result<_, _>>()?;
        Self::new(parse(&commit, "commit")?, files).map_err(|why| Refusal::bad("files", why))
    }
}
