//! The whole database as one file, for a coordinator to come.

use super::{Dispatch, Error, Result, chain};
use crate::store::dump;

impl Dispatch {
    /// Hands the backup over piece by piece, as of now; `take` answers whether it wants more.
    pub async fn backup<F>(&self, take: impl FnMut(Vec<u8>) -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let dumped = self.tools.dump(take).await;
        dumped.map_err(|why| match why {
            dump::Error::Store(error) => Error::Store(error),
            // The operator's to mend, on the coordinator's machine.
            why @ dump::Error::NoTool { .. } => Error::Precondition(why.to_string()),
            why => Error::Internal(chain(&why)),
        })
    }
}
