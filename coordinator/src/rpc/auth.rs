//! Who may call which of the operator's methods: one table, asked before any handler runs. A method
//! without a row is refused, so that a new one cannot be forgotten.

use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use crate::dispatch::Dispatch;
use crate::dispatch::tokens::{Caller, Role};

/// The least role that each method of `FleetService` needs, as `fleet.proto` says beside it.
pub const ROLES: &[(&str, Role)] = &[
    ("CheckPlan", Role::Viewer),
    ("SubmitRun", Role::Operator),
    ("ImportRun", Role::Operator),
    ("WatchRun", Role::Viewer),
    ("CancelRun", Role::Operator),
    ("ResumeRun", Role::Operator),
    ("DeleteRuns", Role::Admin),
    ("Backup", Role::Admin),
    ("ListSchedules", Role::Viewer),
    ("RemoveSchedule", Role::Operator),
    ("ListRuns", Role::Viewer),
    ("ListEvents", Role::Viewer),
    ("ListMachines", Role::Viewer),
    ("DrainMachine", Role::Operator),
    ("ResumeMachine", Role::Operator),
    ("LabelMachine", Role::Operator),
    ("ApproveMachine", Role::Admin),
    ("RevokeMachine", Role::Admin),
    ("UpgradeMachine", Role::Admin),
    ("CreateToken", Role::Admin),
    ("ListTokens", Role::Admin),
    ("RevokeToken", Role::Admin),
    ("Query", Role::Viewer),
    ("RenderReport", Role::Viewer),
    ("CompareRuns", Role::Viewer),
];

/// A service behind the table.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    dispatch: Dispatch,
}

impl<S> Guarded<S> {
    pub fn new(inner: S, dispatch: Dispatch) -> Self {
        Self { inner, dispatch }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that was asked whether it is ready is the one that works.
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        let dispatch = self.dispatch.clone();
        Box::pin(async move {
            let path = request.uri().path();
            let method = path.rsplit('/').next().unwrap_or_default().to_owned();
            let metadata = MetadataMap::from_headers(request.headers().clone());
            let from = service::tls::peer_address(request.extensions());
            match authorise(&dispatch, from, &method, &metadata).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// Asks before a byte of the message is read.
async fn authorise(
    dispatch: &Dispatch,
    from: Option<IpAddr>,
    method: &str,
    metadata: &MetadataMap,
) -> Result<Caller, Status> {
    let Some((_, needed)) = ROLES.iter().find(|(name, _)| *name == method) else {
        return Err(Status::permission_denied(format!(
            "no role may call {method}"
        )));
    };
    let token = service::bearer::read(metadata)
        .map_err(|why| Status::unauthenticated(format!("{why}: send an operator's token")))?;
    let caller = dispatch.caller_from(from, &token).await?;
    if caller.role < *needed {
        return Err(Status::permission_denied(format!(
            "{method} needs the role {}, and this token has the role {}",
            needed.as_str(),
            caller.role.as_str()
        )));
    }
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (method, role) as the protocol's own text has them.
    fn methods_of_the_proto() -> Vec<(String, String)> {
        let text = include_str!("../../../proto/proto/mlxfleet/v1/fleet.proto");
        let methods = text.lines().filter_map(|line| {
            let (name, rest) = line.trim().strip_prefix("rpc ")?.split_once('(')?;
            let (_, role) = rest.split_once("// ")?;
            Some((name.to_owned(), role.trim().to_owned()))
        });
        methods.collect()
    }

    #[test]
    fn every_method_has_the_role_that_the_proto_states() {
        let table: Vec<_> = ROLES
            .iter()
            .map(|(method, role)| ((*method).to_owned(), role.as_str().to_owned()))
            .collect();
        let text = include_str!("../../../proto/proto/mlxfleet/v1/fleet.proto");
        let declared = text
            .lines()
            .filter(|line| line.trim().starts_with("rpc "))
            .count();
        assert_eq!(methods_of_the_proto().len(), declared, "each states a role");
        assert_eq!(table, methods_of_the_proto());
    }

    #[test]
    fn each_role_may_do_what_the_one_below_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }
}
