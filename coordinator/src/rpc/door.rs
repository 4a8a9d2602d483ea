//! The agents' service, as a stranger reaches it and as a machine does. Whoever has no certificate yet may
//! enrol, which takes a small message, uncompressed, soon; the two streams are for machines.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use proto::wire::agent_service_server::AgentServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::Agents;

const ENROLMENT: &str = "/mlxfleet.v1.AgentService/Enroll";
/// A request for a certificate, and what the machine is.
const MAX_ENROLMENT_BYTES: usize = 64 * 1024;
/// To say all that, and for a certificate to be made behind others who enrol.
const ENROLMENT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Door {
    strangers: AgentServiceServer<Agents>,
    machines: AgentServiceServer<Agents>,
}

impl Door {
    pub fn of(agents: Agents) -> Self {
        let agents = Arc::new(agents);
        let strangers = AgentServiceServer::from_arc(Arc::clone(&agents))
            .max_decoding_message_size(MAX_ENROLMENT_BYTES);
        let machines = AgentServiceServer::from_arc(agents)
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        Self {
            strangers,
            machines,
        }
    }
}

impl NamedService for Door {
    const NAME: &'static str = AgentServiceServer::<Agents>::NAME;
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != ENROLMENT {
            return self.machines.call(request);
        }
        let enrolled = self.strangers.call(request);
        Box::pin(async move {
            let late = || Status::deadline_exceeded("the enrolment took too long: try again");
            tokio::time::timeout(ENROLMENT_TIMEOUT, enrolled)
                .await
                .unwrap_or_else(|_| Ok(late().into_http()))
        })
    }
}
