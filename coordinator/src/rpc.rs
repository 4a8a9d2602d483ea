//! The wire's side: who asks, what the message means, and which decision it is for. No SQL here, and no
//! rule beyond "may they ask".

mod agent;
mod auth;
mod convert;
mod door;
mod downloads;
mod fleet;
mod models;
mod sending;
mod session;

pub use agent::Agents;
pub use downloads::{SUMS, listed as archives};
pub use fleet::Operators;

use std::path::PathBuf;

use proto::wire::fleet_service_server::FleetServiceServer;
use service::hub::Cache;
use service::lifecycle::Stop;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use crate::dispatch::{self, Dispatch, Error};
use auth::Guarded;
use door::Door;
use models::Models;

/// Operators send plans and SQL, nothing larger.
const MAX_OPERATOR_MESSAGE_BYTES: usize = 1024 * 1024;

/// What a handler needs besides the request.
#[derive(Clone)]
pub struct Context {
    pub dispatch: Dispatch,
    /// Streams end softly, with the word that the coordinator is going away.
    pub stop: Stop,
    /// Tasks of streams, waited for at the end.
    pub tasks: TaskTracker,
}

/// What lies in folders to be given out.
pub struct Offers {
    /// To machines that are not one of the fleet yet: its programs.
    pub releases: PathBuf,
    /// To those that are.
    pub models: Cache,
}

/// Both services, with their limits and guards, and the downloads for new machines.
pub fn routes(context: &Context, offers: Offers) -> Routes {
    let Offers { releases, models } = offers;
    let models = Models::new(context.clone(), models);
    let agents = Door::of(Agents::new(context.clone(), models));
    let operators = FleetServiceServer::new(Operators::new(context.clone()))
        .max_decoding_message_size(MAX_OPERATOR_MESSAGE_BYTES)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd);
    let operators = Guarded::new(operators, context.dispatch.clone());
    let services = Routes::new(agents).add_service(operators);
    let router = services.into_axum_router();
    Routes::from(router.merge(downloads::router(context, releases))).prepare()
}

/// What a client is told when the coordinator goes away: it should come back, perhaps to another one.
fn draining() -> Status {
    Status::unavailable("draining: the coordinator is stopping")
}

/// A status travels in a header, which has a limit; what was asked for may stand in it, however long.
const MAX_STATUS_CHARS: usize = 2000;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let words: String = error.to_string().chars().take(MAX_STATUS_CHARS).collect();
        match error {
            Error::NotFound { .. } => Self::not_found(words),
            Error::Invalid(_) => Self::invalid_argument(words),
            Error::Unauthenticated(_) | Error::Guessed(_) => Self::unauthenticated(words),
            Error::Denied(_) => Self::permission_denied(words),
            Error::Precondition(_) => Self::failed_precondition(words),
            Error::TooMuch(_) => Self::resource_exhausted(words),
            Error::Unavailable(_) => Self::unavailable(words),
            Error::Internal(_) => {
                tracing::error!(words, "a request failed");
                Self::internal(words)
            }
            Error::Store(error) => of_store(&error),
        }
    }
}

fn of_store(error: &crate::store::Error) -> Status {
    let whole: String = dispatch::chain(error)
        .chars()
        .take(MAX_STATUS_CHARS)
        .collect();
    tracing::warn!(error = whole, "the database refused");
    if error.is_transient() || error.lost_connection() {
        Status::unavailable("the database cannot be reached; try again")
    } else if error.refuses_the_data() {
        Status::invalid_argument(whole)
    } else {
        Status::internal("the database refused; the coordinator's log says why")
    }
}
