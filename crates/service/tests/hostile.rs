//! Peers that mean no good, byte by byte, before anybody knows who they are: the server lets go of them
//! and answers the others.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use service::tls::{self, Authority, CaCertificate};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;

/// Longer than any limit of the server.
const DEADLINE: Duration = Duration::from_mins(1);

/// Answers the path `/test.Patience/Ready` at once and any other never.
#[derive(Clone)]
struct Patience;

impl NamedService for Patience {
    const NAME: &'static str = "test.Patience";
}

impl Service<Request<Body>> for Patience {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ready = request.uri().path().ends_with("/Ready");
        Box::pin(async move {
            if !ready {
                std::future::pending::<()>().await;
            }
            Ok(Status::already_exists("here").into_http())
        })
    }
}

struct Coordinator {
    ca: CaCertificate,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

async fn coordinator() -> Coordinator {
    service::crypto::install();
    let now = OffsetDateTime::now_utc();
    let (authority, _) = Authority::generate(now).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let identity = authority
        .issue_server(&tls::server_names(address, &[]), now)
        .unwrap();
    let config = tls::server_config(&identity, authority.certificate());
    let mut server = tls::server().tls_config(config).unwrap();
    let server = server.add_service(Patience);
    let serving = TaskTracker::new().spawn(async move {
        let incoming = tls::accept(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    Coordinator {
        ca: authority.certificate().clone(),
        address,
        _server: AbortOnDropHandle::new(serving),
    }
}

impl Coordinator {
    /// An honest client is answered.
    async fn answers(&self) {
        let url = format!("https://{}", self.address);
        let endpoint = tls::endpoint(&url, Some(&self.ca), None).unwrap();
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Patience/Ready");
        let codec = ProstCodec::<(), ()>::default();
        let call = client.unary(tonic::Request::new(()), path, codec);
        let status = timeout(DEADLINE, call).await.unwrap().unwrap_err();
        assert_eq!(status.message(), "here");
    }

    /// A connection after its handshakes, whose frames are ours to write.
    async fn raw(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        stream
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// POST to a method that never answers, in HPACK without tables.
fn request() -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut block = vec![0x83, 0x87, 0x04];
    block.extend(text("/test.Patience/Wait"));
    block.push(0x01);
    block.extend(text(tls::SERVER_NAME));
    block.extend([0x0f, 0x10]);
    block.extend(text("application/grpc"));
    block
}

/// Frames of these kinds that came before the connection was closed, or until `enough` did.
async fn received(stream: &mut TlsStream<TcpStream>, kinds: &[u8], enough: usize) -> Vec<Vec<u8>> {
    let read = async {
        let mut found = Vec::new();
        while found.len() < enough {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                break;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).await.is_err() {
                break;
            }
            if kinds.contains(&head[3]) {
                found.push(payload);
            }
        }
        found
    };
    timeout(DEADLINE, read).await.expect("the server reacts")
}

/// Writes while it can: a server that has closed is no failure of the test.
async fn send(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_let_go() {
    let coordinator = coordinator().await;
    let mut silent = TcpStream::connect(coordinator.address).await.unwrap();
    coordinator.answers().await;
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it was kept longer than {DEADLINE:?}");
}

#[tokio::test]
async fn ten_thousand_streams_of_one_peer_are_sixty_four() {
    let coordinator = coordinator().await;
    let mut stream = coordinator.raw().await;
    let mut bytes = Vec::new();
    for number in 0..10_000 {
        bytes.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &request()));
    }
    drop(send(&mut stream, &bytes).await);
    let refused = received(&mut stream, &[RST_STREAM, GOAWAY], 100).await;
    let refused_stream = 7u32.to_be_bytes();
    let said_no = |payload: &Vec<u8>| payload.ends_with(&refused_stream) || payload.len() >= 8;
    assert!(
        !refused.is_empty() && refused.iter().all(said_no),
        "{refused:?}"
    );
    coordinator.answers().await;
}

#[tokio::test]
async fn a_peer_that_resets_as_fast_as_it_asks_is_cut_off() {
    let coordinator = coordinator().await;
    let mut stream = coordinator.raw().await;
    let cancel = 8u32.to_be_bytes();
    let mut bytes = Vec::new();
    for number in 0..10_000 {
        let id = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_HEADERS, id, &request()));
        bytes.extend(frame(RST_STREAM, 0, id, &cancel));
    }
    drop(send(&mut stream, &bytes).await);
    let goaway = received(&mut stream, &[GOAWAY], 1).await;
    let enhance_your_calm = 11u32.to_be_bytes();
    let why = goaway.first().map(|payload| payload[4..8].to_vec());
    assert_eq!(why, Some(enhance_your_calm.to_vec()));
    coordinator.answers().await;
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let coordinator = coordinator().await;
    let mut stream = coordinator.raw().await;
    let mut bytes = frame(HEADERS, 0, 1, &request());
    // A header that nobody knows, 100 bytes at a time, and never the last one.
    let text = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat();
    for _ in 0..20_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &text));
    }
    drop(send(&mut stream, &bytes).await);
    received(&mut stream, &[], 1).await;
    coordinator.answers().await;
}
