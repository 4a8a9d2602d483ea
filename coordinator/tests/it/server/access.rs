//! Who may do what: join tokens, certificates, roles.

use domain::job::JobOutcome;
use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use proto::wire::session_down::Message as Down;
use service::tls::{AgentKey, Authority};
use service::token::Token;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use super::fake_agent::{Machine, batch, enrol, finished, inventory, join, launch};
use super::world::{PLAN, World, soon};

#[tokio::test]
async fn a_join_token_is_good_for_its_uses_and_its_time() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let token = operator.token("join", 2).await;
    let text = token.expose();
    for host in ["mini", "mini"] {
        let mut machine = inventory(host);
        machine.identity = format!("{} {}", machine.identity, uuid::Uuid::now_v7());
        enrol(&world, &text, &machine).await.unwrap();
    }
    let names: Vec<_> = operator
        .machines()
        .await
        .into_iter()
        .map(|machine| machine.name)
        .collect();
    assert_eq!(names, ["mini", "mini-2"], "one host name, two machines");
    let refused = enrol(&world, &text, &inventory("third")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");

    let late = operator.token("join", 1).await;
    sqlx::query("update fleet.token set expires_at = now() where token_id = $1")
        .bind(late.id().to_string())
        .execute(&world.db)
        .await
        .unwrap();
    let refused = enrol(&world, &late.expose(), &inventory("late"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // Neither an operator's token nor a word that is none.
    for text in [operator.token.expose().to_string(), "mlxfleet".to_owned()] {
        let refused = enrol(&world, &text, &inventory("x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    assert_eq!(world.number("select count(*) from fleet.machine").await, 2);
}

#[tokio::test]
async fn a_refused_request_for_a_certificate_costs_no_use_of_the_token() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let token = operator.token("join", 1).await;
    let mut client = AgentServiceClient::new(world.channel().await);
    let nonsense = wire::EnrollRequest {
        token: token.expose().to_string(),
        csr_pem: "no request".to_owned(),
        inventory: Some((&inventory("mini")).into()),
    };
    assert_eq!(
        client.enroll(nonsense).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    enrol(&world, &token.expose(), &inventory("mini"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_machine_that_enrols_again_is_the_same_machine() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let first = join(&world, &mut operator, "mini").await;
    let mut session = first.connect().await;
    let again = join(&world, &mut operator, "mini").await;
    // Whoever has the older certificate is out, and an event tells of it.
    assert_eq!(session.hear().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(refusal(&first).await.code(), Code::Unauthenticated);
    again.connect().await;
    assert_eq!(operator.machines().await.len(), 1);
    for (wanted, sql) in [
        (2, "select count(*) from fleet.certificate"),
        (
            1,
            "select count(*) from fleet.certificate where revoked_at is null",
        ),
        (
            1,
            "select count(*) from fleet.event where kind = 'machine_revoked'",
        ),
    ] {
        assert_eq!(world.number(sql).await, wanted, "{sql}");
    }
}

async fn refusal(machine: &Machine) -> Status {
    let hello = wire::Hello {
        protocol_version: proto::PROTOCOL_VERSION,
        inventory: Some((&machine.inventory).into()),
        unfinished_leases: Vec::new(),
    };
    match machine.say_hello(hello).await {
        Ok(_) => panic!("let in"),
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_revoked_or_expired_or_foreign_certificate_is_refused() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;

    // Another machine's identity under this machine's certificate.
    let mut masked = machine.clone();
    masked.inventory.identity = "somebody else".to_owned();
    assert_eq!(refusal(&masked).await.code(), Code::PermissionDenied);

    // Signed by our CA for a machine that never enrolled.
    let now = OffsetDateTime::now_utc();
    let authority = Authority::open(&world.folder, now).unwrap();
    let key = AgentKey::generate().unwrap();
    let id = domain::ids::MachineId::new();
    let mut unknown = machine.clone();
    unknown.certificate = authority
        .sign_agent(&key.request().unwrap(), id, now)
        .unwrap();
    unknown.key = secrecy::ExposeSecret::expose_secret(&key.to_pem()).to_owned();
    assert_eq!(refusal(&unknown).await.code(), Code::Unauthenticated);

    for sql in [
        "update fleet.certificate set expires_at = now()",
        "update fleet.certificate set revoked_at = now(), expires_at = now() + interval '1 day'",
    ] {
        sqlx::query(sql).execute(&world.db).await.unwrap();
        let refused = refusal(&machine).await;
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        let refused = machine
            .client()
            .await
            .upload(tokio_stream::empty())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    // And no plan means a machine that cannot come.
    assert_eq!(operator.try_submit(PLAN).await.problems.len(), 1);

    let mut nobody = AgentServiceClient::new(world.channel().await);
    let refused = nobody.upload(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("join token"), "{refused}");
}

#[tokio::test]
async fn an_agent_of_another_version_is_told_so() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let hello = wire::Hello {
        protocol_version: proto::PROTOCOL_VERSION + 1,
        inventory: Some((&machine.inventory).into()),
        unfinished_leases: Vec::new(),
    };
    let Err(refused) = machine.say_hello(hello).await else {
        panic!("let in");
    };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("same release"), "{refused}");
    // And so is its operator, until it is understood.
    let doubts = operator.machines().await.remove(0).doubts;
    assert!(
        doubts.len() == 1 && doubts[0].contains("speaks version 2 of the protocol"),
        "{doubts:?}"
    );
    machine.connect().await;
    let doubts = operator.machines().await.remove(0).doubts;
    assert!(
        doubts.len() == 1 && doubts[0].starts_with("agent fake with coordinator"),
        "{doubts:?}"
    );
}

#[tokio::test]
async fn a_revoked_operators_token_is_refused_and_a_forged_secret_too() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let mut viewer = admin.clone();
    viewer.token = admin.token("viewer", 0).await;
    viewer.query("select 1").await.unwrap();

    let other = admin.token("viewer", 0).await;
    let parts = |text: &str| text.split('_').map(str::to_owned).collect::<Vec<_>>();
    let mut forged = parts(&viewer.token.expose());
    forged[3] = parts(&other.expose())[3].clone();
    let mut forger = viewer.clone();
    forger.token = forged.join("_").parse().unwrap();
    assert_eq!(
        forger.query("select 1").await.unwrap_err().code(),
        Code::Unauthenticated
    );

    let id = viewer.token.id().to_string();
    assert_eq!(admin.token_state(&id).await.as_deref(), Some("live"));
    assert!(admin.revoke_token(&id).await.unwrap());
    assert_eq!(
        viewer.query("select 1").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(admin.token_state(&id).await.as_deref(), Some("revoked"));
    // Again changes nothing, and what is not there is told so.
    assert!(!admin.revoke_token(&id).await.unwrap());
    let events =
        "select count(*) from fleet.event where kind = 'token_revoked' and actor like '%token%'";
    assert_eq!(world.number(events).await, 1);
    let refused = admin.revoke_token("nobody's").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("token list"), "{refused}");
}

/// The same secret under the other kind's name.
#[tokio::test]
async fn a_token_of_one_kind_does_not_pass_as_the_other() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let join = admin.token("join", 1).await.expose().to_string();
    let mut machine = admin.clone();
    machine.token = join.replace("_join_", "_op_").parse().unwrap();
    let refused = machine.query("select 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let operator = admin.token.expose().replace("_op_", "_join_");
    let refused = enrol(&world, &operator, &inventory("x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    // It was no guess, and did not cost a use.
    enrol(&world, &join, &inventory("mini")).await.unwrap();
}

#[tokio::test]
async fn guesses_at_tokens_are_slowed_and_lock_nobody_out_who_was_in() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let machine = join(&world, &mut admin, "mini").await;
    let unused = admin.token("viewer", 0).await;
    let guess = |token: &Token| {
        let mut parts: Vec<_> = token.expose().split('_').map(str::to_owned).collect();
        parts[3] = "0".repeat(64);
        parts.join("_")
    };
    let mut guesser = admin.clone();
    guesser.token = guess(&admin.token).parse().unwrap();
    let mut heard = 0;
    let refused = loop {
        let refused = guesser.query("select 1").await.unwrap_err();
        if refused.code() != Code::Unauthenticated {
            break refused;
        }
        heard += 1;
        assert!(heard < 100, "guesses are heard without end");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("try again in"), "{refused}");
    // The same for machines, and for a right token that is shown here for the first time…
    let stranger = guess(&admin.token("join", 1).await);
    let refused = enrol(&world, &stranger, &inventory("x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let mut viewer = admin.clone();
    viewer.token = unused;
    let refused = viewer.query("select 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    // …while who was in stays in.
    admin.query("select 1").await.unwrap();
    machine.connect().await;
}

#[tokio::test]
async fn a_machine_cannot_finish_or_renew_what_another_holds() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let mini = join(&world, &mut operator, "mini").await;
    operator.submit(PLAN).await;
    let mut agent = mini.connect().await;
    agent.ready().await;
    let grant = agent.granted().await;
    let thief = join(&world, &mut operator, "studio").await;
    let mut thief = thief.connect_with(&[grant.lease_id]).await;
    assert!(thief.welcome.live_leases.is_empty());
    let end = batch(&grant, 0, vec![finished(JobOutcome::Failed)]);
    let refused = thief.upload(vec![end.clone()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("granted to this machine"));
    thief.heartbeat(grant.lease_id).await;
    let told = thief.hear().await.unwrap();
    assert!(matches!(told, Some(Down::LeaseLost(_))), "{told:?}");
    // Its owner is not touched, and its number is not taken.
    agent.heartbeat(grant.lease_id).await;
    let told = agent.hear().await.unwrap();
    assert!(matches!(told, Some(Down::Renewed(_))), "{told:?}");
    assert_eq!(agent.upload(vec![end]).await.unwrap(), [0]);
}

#[tokio::test]
async fn a_stream_that_is_open_ends_with_its_certificate() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    operator.submit(PLAN).await;
    let mut agent = machine.connect().await;
    agent.ready().await;
    let grant = agent.granted().await;
    let (batches, sent) = mpsc::channel(4);
    let reading = |seq| wire::Batch::from(batch(&grant, seq, launch("a", 0).records()));
    batches.send(reading(0)).await.unwrap();
    let acks = agent.client.upload(ReceiverStream::new(sent)).await;
    let mut acks = acks.unwrap().into_inner();
    let first = soon("the first", acks.message()).await.unwrap();
    assert_eq!(first.unwrap().seq, 0);
    sqlx::query("update fleet.certificate set revoked_at = now()")
        .execute(&world.db)
        .await
        .unwrap();
    batches.send(reading(1)).await.unwrap();
    let refused = soon("a refusal", acks.message()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert_eq!(world.number("select count(*) from fleet.batch").await, 1);
}

#[tokio::test]
async fn whoever_has_no_certificate_may_say_little() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let token = operator.token("join", 1).await;
    let request = |csr_pem: String| wire::EnrollRequest {
        token: token.expose().to_string(),
        csr_pem,
        inventory: Some((&inventory("mini")).into()),
    };
    let mut client = AgentServiceClient::new(world.channel().await);
    let giant = request("x".repeat(100_000));
    let refused = client.enroll(giant).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    // A small message may hold a large one.
    let mut packed = client.send_compressed(CompressionEncoding::Zstd);
    let refused = packed
        .enroll(request("x".repeat(100_000)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    enrol(&world, &token.expose(), &inventory("mini"))
        .await
        .unwrap();
}

/// What docs/security.md tells to do when the authority's key may be known to somebody else.
#[tokio::test]
async fn a_new_authority_keeps_the_machines_and_shuts_out_the_old_one() {
    let mut world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let name = machine.connect().await.welcome.machine_id;
    let stolen = operator.token("admin", 0).await;
    let former = world.ca().fingerprint();
    world.down().await;
    for file in [world.folder.ca_certificate(), world.folder.ca_key()] {
        std::fs::remove_file(file).unwrap();
    }
    world.up().await;
    assert_ne!(world.ca().fingerprint(), former);

    let mut operator = world.operator().await;
    assert_eq!(operator.token.ca(), world.ca().fingerprint());
    let mut thief = operator.clone();
    thief.token = stolen;
    let refused = thief.query("select 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let mut foreign = join(&world, &mut operator, "studio").await;
    (foreign.certificate, foreign.key) = (machine.certificate, machine.key);
    let refused = foreign.try_client().await.unwrap_err();
    assert!(refused.contains("enrol it again"), "{refused}");
    let again = join(&world, &mut operator, "mini").await;
    assert_eq!(again.connect().await.welcome.machine_id, name);
    let told = "select count(*) from fleet.event where kind = 'authority_renewed'";
    assert_eq!(world.number(told).await, 1);

    // Once: the next start finds everything as it should be.
    world.down().await;
    world.up().await;
    again.connect().await;
    assert_eq!(world.number(told).await, 1);
}
