//! Who may do what: join tokens, certificates, roles.

use proto::wire;
use proto::wire::agent_service_client::AgentServiceClient;
use service::tls::{AgentKey, Authority};
use time::OffsetDateTime;
use tonic::{Code, Status};

use super::fake_agent::{Machine, enrol, inventory, join};
use super::world::{Operator, PLAN, World};

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

/// Calls a method by its name, with a message that is well-formed and empty.
async fn call(operator: &Operator, method: &str) -> Result<(), Status> {
    let mut client = operator.client.clone();
    let latest = || "latest".to_owned();
    match method {
        "CheckPlan" => client
            .check_plan(operator.request(wire::CheckPlanRequest::default()))
            .await
            .map(drop),
        "SubmitRun" => client
            .submit_run(operator.request(wire::SubmitRunRequest::default()))
            .await
            .map(drop),
        "ImportRun" => client
            .import_run(operator.request(wire::ImportRunRequest::default()))
            .await
            .map(drop),
        "WatchRun" => client
            .watch_run(operator.request(wire::WatchRunRequest { run: latest() }))
            .await
            .map(drop),
        "CancelRun" => client
            .cancel_run(operator.request(wire::CancelRunRequest { run: latest() }))
            .await
            .map(drop),
        "ListRuns" => client
            .list_runs(operator.request(wire::ListRunsRequest::default()))
            .await
            .map(drop),
        "ResumeRun" => client
            .resume_run(operator.request(wire::ResumeRunRequest { run: latest() }))
            .await
            .map(drop),
        "DeleteRuns" => client
            .delete_runs(operator.request(wire::DeleteRunsRequest {
                run: latest(),
                ..Default::default()
            }))
            .await
            .map(drop),
        "Backup" => client
            .backup(operator.request(wire::BackupRequest {}))
            .await
            .map(drop),
        "ListSchedules" => client
            .list_schedules(operator.request(wire::ListSchedulesRequest::default()))
            .await
            .map(drop),
        "RemoveSchedule" => client
            .remove_schedule(operator.request(wire::RemoveScheduleRequest::default()))
            .await
            .map(drop),
        "ListEvents" => client
            .list_events(operator.request(wire::ListEventsRequest::default()))
            .await
            .map(drop),
        "ListMachines" => client
            .list_machines(operator.request(wire::ListMachinesRequest::default()))
            .await
            .map(drop),
        "DrainMachine" => client
            .drain_machine(operator.request(wire::DrainMachineRequest::default()))
            .await
            .map(drop),
        "ResumeMachine" => client
            .resume_machine(operator.request(wire::ResumeMachineRequest::default()))
            .await
            .map(drop),
        "LabelMachine" => client
            .label_machine(operator.request(wire::LabelMachineRequest::default()))
            .await
            .map(drop),
        "ApproveMachine" => client
            .approve_machine(operator.request(wire::ApproveMachineRequest::default()))
            .await
            .map(drop),
        "RevokeMachine" => client
            .revoke_machine(operator.request(wire::RevokeMachineRequest::default()))
            .await
            .map(drop),
        "CreateToken" => client
            .create_token(operator.request(wire::CreateTokenRequest::default()))
            .await
            .map(drop),
        "Query" => client
            .query(operator.request(wire::QueryRequest::default()))
            .await
            .map(drop),
        "RenderReport" => client
            .render_report(operator.request(wire::RenderReportRequest {
                run: latest(),
                formats: vec!["md".to_owned()],
            }))
            .await
            .map(drop),
        "CompareRuns" => client
            .compare_runs(operator.request(wire::CompareRunsRequest {
                run: latest(),
                baseline: latest(),
                ..Default::default()
            }))
            .await
            .map(drop),
        other => panic!("teach this test to call {other}"),
    }
}

#[tokio::test]
async fn every_method_needs_the_role_that_the_proto_states() {
    let world = World::start().await;
    let mut admin = world.operator().await;
    let mut nobody = admin.clone();
    nobody.token = admin.token("join", 1).await;
    let mut of_role = Vec::new();
    for kind in ["viewer", "operator"] {
        let mut operator = admin.clone();
        operator.token = admin.token(kind, 0).await;
        of_role.push(operator);
    }
    of_role.push(admin);

    let text = include_str!("../../../../proto/proto/mlxfleet/v1/fleet.proto");
    let methods = text.lines().filter_map(|line| {
        let (method, rest) = line.trim().strip_prefix("rpc ")?.split_once('(')?;
        Some((method, rest.rsplit_once("// ")?.1.trim()))
    });
    let mut called = 0;
    for (method, needed) in methods {
        let refused = call(&nobody, method).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{method}: {refused}");
        let needed = ["viewer", "operator", "admin"]
            .iter()
            .position(|role| *role == needed);
        for (rank, operator) in of_role.iter().enumerate() {
            let code = call(operator, method)
                .await
                .err()
                .map_or(Code::Ok, |status| status.code());
            let denied = code == Code::PermissionDenied;
            assert_eq!(
                denied,
                rank < needed.unwrap(),
                "{method}, role {rank}: {code:?}"
            );
            assert_ne!(code, Code::Unauthenticated, "{method}, role {rank}");
        }
        called += 1;
    }
    assert_eq!(called, text.matches("  rpc ").count());
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

    sqlx::query("update fleet.token set revoked_at = now() where token_id = $1")
        .bind(viewer.token.id().to_string())
        .execute(&world.db)
        .await
        .unwrap();
    assert_eq!(
        viewer.query("select 1").await.unwrap_err().code(),
        Code::Unauthenticated
    );
}
