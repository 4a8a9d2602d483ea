//! Real connections over loopback: who is let in, who is not, and in which words.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use domain::ids::MachineId;
use service::tls::{self, AgentKey, Authority, ClientIdentity, Fingerprint};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// Answers every call with the machine that made it.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl Service<Request<Body>> for WhoAmI {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = match tls::peer(request.extensions()) {
            Ok(Some(peer)) => Status::already_exists(peer.machine.to_string()),
            Ok(None) => Status::unauthenticated("nobody"),
            Err(error) => Status::internal(error.to_string()),
        };
        Box::pin(async move { Ok(answer.into_http()) })
    }
}

struct Coordinator {
    authority: Authority,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Coordinator {
    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

async fn coordinator_at(made: OffsetDateTime) -> Coordinator {
    service::crypto::install();
    let (authority, _) = Authority::generate(made).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = tls::server_names(address, &[]);
    let identity = authority.issue_server(&names, made).unwrap();
    let config = tls::server_config(&identity, authority.certificate());
    let mut server = tls::server().tls_config(config).unwrap();
    let server = server.add_service(WhoAmI);
    let serving = TaskTracker::new().spawn(async move {
        let incoming = tls::accept(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    Coordinator {
        authority,
        address,
        _server: AbortOnDropHandle::new(serving),
    }
}

async fn coordinator() -> Coordinator {
    coordinator_at(now()).await
}

fn enrol(authority: &Authority, machine: MachineId, at: OffsetDateTime) -> ClientIdentity {
    let key = AgentKey::generate().unwrap();
    let request = key.request().unwrap();
    let certificate = authority.sign_agent(&request, machine, at).unwrap();
    ClientIdentity::new(certificate, key.to_pem())
}

/// The answer of one call, or the whole explanation of why there was none.
async fn call(
    coordinator: &Coordinator,
    trusted: &Authority,
    client: Option<&ClientIdentity>,
) -> Result<Status, String> {
    let endpoint = tls::endpoint(&coordinator.url(), Some(trusted.certificate()), client).unwrap();
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| tls::explain(&error))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| tls::explain(&error))?;
    let path = PathAndQuery::from_static("/test.WhoAmI/Call");
    let codec = ProstCodec::<(), ()>::default();
    let status = client
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    match status.code() {
        Code::AlreadyExists | Code::Unauthenticated | Code::Internal => Ok(status),
        _ => Err(tls::explain(&status)),
    }
}

#[tokio::test]
async fn an_enrolled_machine_is_known_by_its_certificate() {
    let coordinator = coordinator().await;
    let machine = MachineId::new();
    let client = enrol(&coordinator.authority, machine, now());
    let answer = call(&coordinator, &coordinator.authority, Some(&client))
        .await
        .unwrap();
    assert_eq!(answer.message(), machine.to_string());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_as_nobody() {
    let coordinator = coordinator().await;
    let answer = call(&coordinator, &coordinator.authority, None)
        .await
        .unwrap();
    assert_eq!(answer.message(), "nobody");
}

#[tokio::test]
async fn a_certificate_of_another_fleet_is_refused_in_words() {
    let coordinator = coordinator().await;
    let (other, _) = Authority::generate(now()).unwrap();
    let client = enrol(&other, MachineId::new(), now());
    let why = call(&coordinator, &coordinator.authority, Some(&client))
        .await
        .unwrap_err();
    assert!(why.contains("enrol it again"), "{why}");
}

#[tokio::test]
async fn an_ended_certificate_is_refused_in_words() {
    let coordinator = coordinator().await;
    let long_ago = now() - time::Duration::days(400);
    let client = enrol(&coordinator.authority, MachineId::new(), long_ago);
    let why = call(&coordinator, &coordinator.authority, Some(&client))
        .await
        .unwrap_err();
    assert!(
        why.contains("certificate has ended: enrol it again"),
        "{why}"
    );
}

#[tokio::test]
async fn a_server_of_another_fleet_is_refused_in_words() {
    let coordinator = coordinator().await;
    let (trusted, _) = Authority::generate(now()).unwrap();
    let why = call(&coordinator, &trusted, None).await.unwrap_err();
    assert!(why.contains("is it another coordinator?"), "{why}");
}

/// A client certificate must not be good for playing the coordinator.
#[tokio::test]
async fn a_machine_cannot_pose_as_the_coordinator() {
    let coordinator = coordinator().await;
    let client = enrol(&coordinator.authority, MachineId::new(), now());
    let why = pose(&coordinator.authority, client).await;
    assert!(
        why.contains("does not allow extended key usage for server"),
        "{why}"
    );
}

/// Serves with an agent's certificate and says how a client refuses it.
async fn pose(authority: &Authority, agent: ClientIdentity) -> String {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use secrecy::ExposeSecret;

    let (certificate, key) = agent.into_parts();
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).unwrap();
    let chain = vec![leaf, authority.certificate().der().clone()];
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _serving = AbortOnDropHandle::new(TaskTracker::new().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(acceptor.accept(stream).await);
    }));
    let error = tls::fetch_ca(&address, authority.fingerprint())
        .await
        .unwrap_err();
    tls::explain(&error)
}

#[tokio::test]
async fn the_pinned_ca_is_fetched_and_then_trusted() {
    let coordinator = coordinator().await;
    let pinned = coordinator.authority.fingerprint();
    let ca = tls::fetch_ca(&coordinator.address.to_string(), pinned)
        .await
        .unwrap();
    assert_eq!(&ca, coordinator.authority.certificate());
    let endpoint = tls::endpoint(&coordinator.url(), Some(&ca), None).unwrap();
    endpoint.connect().await.unwrap();
}

#[tokio::test]
async fn another_fingerprint_is_refused_by_name() {
    let coordinator = coordinator().await;
    let pinned = Fingerprint::of(b"another");
    let address = coordinator.address.to_string();
    let error = tls::fetch_ca(&address, pinned).await.unwrap_err();
    assert!(
        matches!(error, tls::Error::WrongAuthority { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = tls::fetch_ca(&address, Fingerprint::of(b"any"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot reach {address}")),
        "{text}"
    );
}
