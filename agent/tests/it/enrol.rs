//! Joining a fleet over real TLS, and the ways to be refused.

use std::path::Path;

use agent::enrol::{Error, Membership, Wishes, join};
use agent::task::Task;
use agent::{enrol, inventory};
use domain::ids::MachineId;
use proto::wire;
use proto::wire::agent_service_server::{AgentService, AgentServiceServer};
use secrecy::SecretString;
use service::folders::DataFolder;
use service::tls::{self, Authority};
use service::token::{Token, TokenKind};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Enrols whoever has the token, and answers a session with what the certificate says.
struct Registry {
    authority: Authority,
    token: String,
    machine: MachineId,
}

#[tonic::async_trait]
impl AgentService for Registry {
    async fn enroll(
        &self,
        request: Request<wire::EnrollRequest>,
    ) -> Result<Response<wire::EnrollResponse>, Status> {
        let request = request.into_inner();
        if request.token != self.token {
            return Err(Status::unauthenticated("this token was used before"));
        }
        let now = OffsetDateTime::now_utc();
        let certificate = self
            .authority
            .sign_agent(&request.csr_pem, self.machine, now);
        Ok(Response::new(wire::EnrollResponse {
            machine_id: self.machine.to_string(),
            certificate_pem: certificate.unwrap(),
            ca_pem: self.authority.certificate().pem(),
        }))
    }

    type SessionStream = ReceiverStream<Result<wire::SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = tls::peer(request.extensions())
            .unwrap()
            .expect("a certificate");
        Err(Status::failed_precondition(peer.machine.to_string()))
    }

    type UploadStream = ReceiverStream<Result<wire::BatchAck, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<wire::Batch>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        tls::peer(request.extensions())
            .unwrap()
            .ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let (_, answers) = mpsc::channel(1);
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn find_model(
        &self,
        _: Request<wire::FindModelRequest>,
    ) -> Result<Response<wire::FindModelResponse>, Status> {
        Err(Status::unimplemented("see the tests of models"))
    }

    type FetchModelFileStream = ReceiverStream<Result<wire::ModelFileChunk, Status>>;

    async fn fetch_model_file(
        &self,
        _: Request<wire::FetchModelFileRequest>,
    ) -> Result<Response<Self::FetchModelFileStream>, Status> {
        Err(Status::unimplemented("see the tests of models"))
    }
}

/// One that enrols, and has no job for anybody.
pub struct Coordinator {
    pub url: String,
    token: Token,
    machine: MachineId,
    _task: Task<()>,
}

impl Coordinator {
    pub async fn start() -> Self {
        service::crypto::install();
        let now = OffsetDateTime::now_utc();
        let (authority, _) = Authority::generate(now).unwrap();
        let token = Token::generate(TokenKind::Join, authority.fingerprint(), &mut rand::rng());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = tls::server_names(address, &[]);
        let identity = authority.issue_server(&names, now).unwrap();
        let config = tls::server_config(&identity, authority.certificate());
        let machine = MachineId::new();
        let service = AgentServiceServer::new(Registry {
            token: token.expose().as_str().to_owned(),
            authority,
            machine,
        });
        let mut server = tls::server().tls_config(config).unwrap();
        let task = Task::start(async move {
            let connections = tls::accept(listener);
            server
                .add_service(service)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        Self {
            url: format!("https://{address}"),
            token,
            machine,
            _task: task,
        }
    }

    pub fn wishes(&self) -> Wishes {
        Wishes {
            coordinators: vec![self.url.clone()],
            token: Some(SecretString::from(self.token.expose().as_str())),
            again: false,
        }
    }
}

async fn joins(dir: &Path, wishes: Wishes) -> Result<Membership, Error> {
    let folder = DataFolder::at(dir);
    let fleet = enrol::fleet(&folder, &wishes)?;
    let inventory = inventory::read([].into(), &folder, fleet).unwrap();
    join(&folder, wishes, &inventory, OffsetDateTime::now_utc()).await
}

fn refusal(result: Result<Membership, Error>) -> String {
    match result {
        Ok(_) => panic!("let in"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_token_is_needed_once_and_the_certificate_names_the_machine() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(joins(dir.path(), Wishes::default()).await).contains("token create"));
    joins(dir.path(), coordinator.wishes()).await.unwrap();
    let member = joins(dir.path(), Wishes::default()).await.unwrap();
    assert_eq!(
        member.coordinators(),
        std::slice::from_ref(&coordinator.url)
    );
    let endpoint = member.endpoints().unwrap().remove(0);
    let channel = endpoint.connect().await.unwrap();
    let mut client = wire::agent_service_client::AgentServiceClient::new(channel);
    let answer = client.session(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(answer.message(), coordinator.machine.to_string());
    let key = std::fs::metadata(dir.path().join("agent.key")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_refused_token_is_told_in_the_coordinators_words_and_leaves_nothing() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ca = coordinator.token.ca();
    let other = Token::generate(TokenKind::Join, ca, &mut rand::rng());
    let wishes = Wishes {
        token: Some(SecretString::from(other.expose().as_str())),
        ..coordinator.wishes()
    };
    let error = joins(dir.path(), wishes).await;
    assert!(refusal(error).contains("this token was used before"));
    assert!(!dir.path().join("agent.pem").exists());
}

#[tokio::test]
async fn an_enrolled_folder_does_not_change_fleets_by_itself() {
    let (ours, theirs) = (Coordinator::start().await, Coordinator::start().await);
    let dir = tempfile::tempdir().unwrap();
    joins(dir.path(), ours.wishes()).await.unwrap();
    let told = refusal(joins(dir.path(), theirs.wishes()).await);
    assert!(
        told.contains("another coordinator") && told.contains("--data-dir"),
        "{told}"
    );
}

#[tokio::test]
async fn a_certificate_that_ended_is_told_with_its_day_and_a_token_renews_it() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    joins(dir.path(), coordinator.wishes()).await.unwrap();
    let folder = DataFolder::at(dir.path());
    let fleet = enrol::fleet(&folder, &Wishes::default()).unwrap();
    assert_eq!(fleet, Some(coordinator.token.ca()));
    let inventory = inventory::read([].into(), &folder, fleet).unwrap();
    let later = OffsetDateTime::now_utc() + Duration::days(500);
    let late = join(&folder, Wishes::default(), &inventory, later).await;
    assert!(refusal(late).contains("ended on"));
    join(&folder, coordinator.wishes(), &inventory, later)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_held_gives_way_to_a_token_only_when_told() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    let certificate = || std::fs::read_to_string(dir.path().join("agent.pem")).unwrap();
    joins(dir.path(), coordinator.wishes()).await.unwrap();
    let first = certificate();
    joins(dir.path(), coordinator.wishes()).await.unwrap();
    assert_eq!(certificate(), first);
    let again = |wishes| Wishes {
        again: true,
        ..wishes
    };
    joins(dir.path(), again(Wishes::default())).await.unwrap();
    assert_eq!(certificate(), first);
    joins(dir.path(), again(coordinator.wishes()))
        .await
        .unwrap();
    assert_ne!(certificate(), first);
}

#[tokio::test]
async fn nobody_there_is_a_temporary_trouble() {
    let coordinator = Coordinator::start().await;
    let dir = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    drop(silent);
    let away = format!("https://{address}");
    let wishes = |coordinators: &[&String]| Wishes {
        coordinators: coordinators.iter().copied().cloned().collect(),
        ..coordinator.wishes()
    };
    let error = joins(dir.path(), wishes(&[&away])).await.err().unwrap();
    assert!(error.is_temporary(), "{error}");
    // And none at all when another of the fleet is there.
    let both = wishes(&[&away, &coordinator.url]);
    joins(dir.path(), both).await.unwrap();
    let member = joins(dir.path(), Wishes::default()).await.unwrap();
    assert_eq!(member.coordinators(), [away, coordinator.url]);
}
