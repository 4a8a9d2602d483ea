//! The story of a run, a machine or the whole fleet, for audit.

use super::{Dispatch, Error, Result};
use crate::store::event::{self, Stored};

/// Told when nobody says how many.
const LISTED: u32 = 1000;
const MAX_LISTED: u32 = 100_000;

impl Dispatch {
    /// The newest so many, of one run or one machine where it is named.
    pub async fn events(&self, run: &str, machine: &str, limit: u32) -> Result<Vec<Stored>> {
        if limit > MAX_LISTED {
            return Err(Error::Invalid(format!(
                "at most {MAX_LISTED} events are told at once, not {limit}"
            )));
        }
        let run_id = match run {
            "" => None,
            run => Some(self.find_run(run).await?),
        };
        let machine_id = match machine {
            "" => None,
            machine => Some(self.find_machine(machine).await?.0),
        };
        let limit = if limit == 0 { LISTED } else { limit };
        Ok(event::list(&self.pool, run_id, machine_id, limit).await?)
    }
}
