//! Who may call what: every method that the protocol has, with every kind of credential, held against
//! the table in docs/security.md. A method without a row there fails this test.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use domain::ids::{LeaseId, MachineId};
use domain::machine::Inventory;
use domain::record::{Batch, Reading, Record};
use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use secrecy::ExposeSecret;
use service::tls::{AgentKey, Authority, ClientIdentity};
use service::token::Token;
use time::{Duration, OffsetDateTime};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::fake_agent::{Machine, inventory, join};
use super::world::{Operator, PLAN, World, soon};

const TABLE: &str = include_str!("../../../../docs/security.md");

/// What somebody shows: a token beside the request and in an enrolment, a certificate in the handshake.
struct Caller {
    name: &'static str,
    token: Option<Token>,
    join: String,
    channel: Channel,
    /// Whom it says it is, and whose lease it uploads into.
    claims: Inventory,
    lease: LeaseId,
}

/// (service, method), from the protocol's own files.
fn methods() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto");
    let folder = std::fs::read_dir(root.join("mlxfleet/v1")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let descriptors = protox::compile(&files, [&root]).unwrap();
    let mut methods = Vec::new();
    for file in descriptors.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let of_service = service.method.iter();
            methods.extend(of_service.map(|method| (name.clone(), method.name().to_owned())));
        }
    }
    methods
}

#[tokio::test]
async fn every_method_lets_in_whom_the_table_of_the_docs_lets_in() {
    let world = World::start().await;
    let callers = callers(&world).await;
    let heads = callers.iter().map(|caller| caller.name.to_owned());
    let mut found = vec![row(std::iter::once("Method".to_owned()).chain(heads))];
    found.push(format!("|{}", "---|".repeat(callers.len() + 1)));
    for (service, method) in methods() {
        let mut cells = vec![format!("`{method}`")];
        for caller in &callers {
            let answer = soon("an answer", call(caller, &service, &method)).await;
            cells.push(in_words(caller, &method, &answer).to_owned());
        }
        found.push(row(cells));
    }
    let found = found.join("\n");
    assert!(
        TABLE.contains(&format!("\n\n{found}\n\n")),
        "docs/security.md has another table than this:\n{found}"
    );
    let counted = world
        .number("select count(*) from fleet.reading where sensor = 'of another'")
        .await;
    assert_eq!(counted, 0, "nothing came in under another machine's lease");
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    format!("| {} |", cells.join(" | "))
}

fn in_words(caller: &Caller, method: &str, answer: &Result<(), Status>) -> &'static str {
    let Err(status) = answer else { return "yes" };
    if status.source().is_some() {
        let why = service::tls::explain(status);
        assert!(why.contains("enrol it again"), "{}: {why}", caller.name);
        return "TLS";
    }
    match status.code() {
        Code::Unauthenticated => "who?",
        Code::PermissionDenied => "no",
        Code::InvalidArgument if status.message().contains("granted to this machine") => "no",
        // Let in, and told that an empty message asks for nothing.
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition => "yes",
        code => panic!("{method} by {}: {code:?} {status}", caller.name),
    }
}

async fn callers(world: &World) -> Vec<Caller> {
    let mut admin = world.operator().await;
    let mini = join(world, &mut admin, "mini").await;
    let studio = join(world, &mut admin, "studio").await;
    let gone = join(world, &mut admin, "gone").await;
    admin.submit(PLAN).await;
    let mut agent = mini.connect().await;
    let mini_id: MachineId = agent.welcome.machine_id.parse().unwrap();
    agent.ready().await;
    let lease = agent.granted().await.lease_id;
    let gone_id = gone.connect().await.welcome.machine_id;
    revoke(world, "certificate", "machine_id::text", &gone_id).await;

    let now = OffsetDateTime::now_utc();
    let ours = Authority::open(&world.folder, now).unwrap();
    let (theirs, _) = Authority::generate(now).unwrap();
    let signed = |authority: &Authority, at: OffsetDateTime| {
        let key = AgentKey::generate().unwrap();
        let request = key.request().unwrap();
        let certificate = authority.sign_agent(&request, mini_id, at).unwrap();
        let pem = key.to_pem().expose_secret().to_owned();
        let mut machine = mini.clone();
        (machine.certificate, machine.key) = (certificate, pem);
        machine
    };
    let ended = signed(&ours, now - Duration::days(400));
    let foreign = signed(&theirs, now);
    let caller = |name, machine: Option<&Machine>, claims: &Machine| Caller {
        name,
        token: None,
        join: String::new(),
        channel: channel(world, machine),
        claims: claims.inventory.clone(),
        lease,
    };
    let bearer = |name, token: Token| Caller {
        token: Some(token.clone()),
        join: token.expose().to_string(),
        ..caller(name, None, &mini)
    };
    vec![
        caller("nothing", None, &mini),
        bearer("viewer", admin.token("viewer", 0).await),
        bearer("operator", admin.token("operator", 0).await),
        bearer("admin", admin.token("admin", 0).await),
        Caller {
            claims: inventory("new"),
            ..bearer("join token", admin.token("join", 1).await)
        },
        revoked(world, &mut admin, &bearer).await,
        caller("machine", Some(&mini), &mini),
        caller("another machine", Some(&studio), &mini),
        caller("revoked machine", Some(&gone), &gone),
        caller("ended certificate", Some(&ended), &mini),
        caller("another authority", Some(&foreign), &mini),
    ]
}

/// An operator's token and a join token that were good once.
async fn revoked(
    world: &World,
    admin: &mut Operator,
    bearer: &impl Fn(&'static str, Token) -> Caller,
) -> Caller {
    let (token, join) = (admin.token("admin", 0).await, admin.token("join", 1).await);
    for token in [&token, &join] {
        revoke(world, "token", "token_id", &token.id().to_string()).await;
    }
    Caller {
        join: join.expose().to_string(),
        ..bearer("revoked token", token)
    }
}

async fn revoke(world: &World, table: &str, key: &str, value: &str) {
    let sql = format!("update fleet.{table} set revoked_at = now() where {key} = $1");
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .execute(&world.db)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

fn channel(world: &World, machine: Option<&Machine>) -> Channel {
    let identity = machine.map(|machine| {
        ClientIdentity::new(machine.certificate.clone(), machine.key.clone().into())
    });
    service::tls::endpoint(&world.url(), Some(&world.ca()), identity.as_ref())
        .unwrap()
        .connect_lazy()
}

/// One call; its message says what the caller claims to be, and otherwise nothing.
async fn call(caller: &Caller, service: &str, method: &str) -> Result<(), Status> {
    let mut agents = AgentServiceClient::new(caller.channel.clone());
    let hello = wire::Hello {
        protocol_version: proto::PROTOCOL_VERSION,
        inventory: Some((&caller.claims).into()),
        unfinished_leases: vec![caller.lease.to_string()],
    };
    match method {
        "Enroll" => {
            let request = wire::EnrollRequest {
                token: caller.join.clone(),
                csr_pem: AgentKey::generate().unwrap().request().unwrap(),
                inventory: hello.inventory,
            };
            agents.enroll(with(caller, request)).await.map(drop)
        }
        "Session" => {
            let up = wire::SessionUp {
                message: Some(wire::session_up::Message::Hello(hello)),
            };
            let request = with(caller, tokio_stream::once(up));
            agents
                .session(request)
                .await?
                .into_inner()
                .message()
                .await
                .map(drop)
        }
        "Upload" => {
            let own = caller.name == "machine";
            let reading = Record::Reading(Reading {
                at: OffsetDateTime::now_utc(),
                sensor: if own { "own" } else { "of another" }.to_owned(),
                value: 1.0,
            });
            let batch = Batch {
                lease_id: caller.lease,
                seq: 0,
                records: vec![reading],
            };
            let request = with(caller, tokio_stream::once(batch.into()));
            agents
                .upload(request)
                .await?
                .into_inner()
                .message()
                .await
                .map(drop)
        }
        "FindModel" => {
            let request = wire::FindModelRequest {
                lease_id: caller.lease.to_string(),
                source: "hf://org/name".to_owned(),
            };
            agents.find_model(with(caller, request)).await.map(drop)
        }
        "FetchModelFile" => {
            let request = wire::FetchModelFileRequest {
                lease_id: caller.lease.to_string(),
                source: "hf://org/name".to_owned(),
                digest: "0a".repeat(32),
                offset: 0,
            };
            agents
                .fetch_model_file(with(caller, request))
                .await
                .map(drop)
        }
        _ => {
            let path: PathAndQuery = format!("/{service}/{method}").parse().unwrap();
            let mut client = tonic::client::Grpc::new(caller.channel.clone());
            client
                .ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let codec = ProstCodec::<(), ()>::default();
            let request = with(caller, tokio_stream::once(()));
            let answers = client.streaming(request, path, codec).await?;
            answers.into_inner().message().await.map(drop)
        }
    }
}

fn with<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = &caller.token {
        service::bearer::attach(token, request.metadata_mut());
    }
    request
}

#[test]
fn no_two_methods_have_one_name() {
    let methods = methods();
    let names: BTreeSet<_> = methods.iter().map(|(_, method)| method).collect();
    assert_eq!(names.len(), methods.len());
    assert!(names.len() > 10, "the protocol's files were read");
}
