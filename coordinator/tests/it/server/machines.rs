//! Machines as operators see and steer them: drained, resumed, approved, labelled.

use std::collections::HashMap;

use proto::wire;
use proto::wire::session_down::Message as Down;
use tonic::Code;

use super::fake_agent::{FakeAgent, enrol, inventory, join};
use super::world::{Operator, PLAN, World};

impl Operator {
    async fn machine(&mut self, name: &str) -> wire::MachineRow {
        let mut machines = self.machines().await;
        machines.retain(|machine| machine.name == name);
        machines.remove(0)
    }

    async fn drain(&mut self, machine: &str, reason: &str) {
        let request = self.request(wire::DrainMachineRequest {
            machine: machine.to_owned(),
            reason: reason.to_owned(),
        });
        self.client.drain_machine(request).await.unwrap();
    }

    async fn resume(&mut self, machine: &str) -> bool {
        let request = self.request(wire::ResumeMachineRequest {
            machine: machine.to_owned(),
        });
        let resumed = self.client.resume_machine(request).await.unwrap();
        resumed.into_inner().was_drained
    }

    async fn upgrade(&mut self) -> Result<(), tonic::Status> {
        let request = self.request(wire::UpgradeMachineRequest {
            machine: "mini".to_owned(),
        });
        self.client.upgrade_machine(request).await.map(drop)
    }

    /// `place=WHERE`.
    pub async fn label_of(&mut self, machine: &str, place: &str) {
        let request = self.request(wire::LabelMachineRequest {
            machine: machine.to_owned(),
            set: [("place".to_owned(), place.to_owned())].into(),
            remove: Vec::new(),
        });
        self.client.label_machine(request).await.unwrap();
    }

    async fn label(
        &mut self,
        set: &[(&str, &str)],
        remove: &[&str],
    ) -> Result<HashMap<String, String>, tonic::Status> {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let request = self.request(wire::LabelMachineRequest {
            machine: "mini".to_owned(),
            set: set.iter().map(text).collect(),
            remove: remove.iter().map(ToString::to_string).collect(),
        });
        let labelled = self.client.label_machine(request).await?;
        Ok(labelled.into_inner().labels)
    }
}

impl FakeAgent {
    /// Why no job comes, as the agent is told.
    async fn drained(&mut self) -> String {
        match self.hear().await.unwrap() {
            Some(Down::Drain(drain)) => drain.reason,
            other => panic!("not told to rest but {other:?}"),
        }
    }

    async fn resumed(&mut self) {
        let heard = self.hear().await.unwrap();
        assert!(matches!(heard, Some(Down::Resume(_))), "{heard:?}");
    }
}

#[tokio::test]
async fn a_drained_machine_finishes_its_job_and_gets_no_other_until_it_is_resumed() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let mut agent = machine.connect().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    let grant = agent.granted().await;

    operator.drain("mini", "new disk").await;
    assert_eq!(agent.drained().await, "drained by an operator: new disk");
    let row = operator.machine("mini").await;
    assert_eq!(row.state, "draining");
    assert!(row.state_since_unix_us.is_some());
    assert!(
        row.doubts[0].starts_with("drained by data folder (token")
            && row.doubts[0].ends_with("): new disk"),
        "{:?}",
        row.doubts
    );
    agent.do_job(&grant).await;
    assert_eq!(operator.machine("mini").await.state, "drained");

    // A plan still means it, and says what its jobs wait for.
    let submitted = operator.try_submit(PLAN).await;
    assert_eq!(submitted.notes.len(), 1, "{:?}", submitted.notes);
    assert!(
        submitted.notes[0].ends_with("wait until `mlx-fleet machine resume mini`"),
        "{:?}",
        submitted.notes
    );
    // An agent that asks all the same, or comes anew, gets none either.
    agent.ready().await;
    let mut agent = machine.connect().await;
    agent.ready().await;
    assert_eq!(agent.drained().await, "drained by an operator: new disk");
    assert_eq!(world.number("select count(*) from fleet.lease").await, 1);

    assert!(operator.resume("mini").await);
    agent.resumed().await;
    agent.ready().await;
    agent.granted().await;
    assert!(!operator.resume("mini").await, "it was not drained");
    let row = operator.machine("mini").await;
    assert_eq!(row.state, "busy");
    let story: Vec<String> = operator
        .events("")
        .await
        .into_iter()
        .map(|e| e.kind)
        .collect();
    for kind in ["machine_drained", "machine_resumed"] {
        assert_eq!(story.iter().filter(|told| *told == kind).count(), 1);
    }
}

#[tokio::test]
async fn a_machine_that_waits_for_approval_gets_no_job_until_an_operator_lets_it_in() {
    let mut world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "known").await;
    world.down().await;
    world.approve_machines = true;
    world.up().await;
    let mut operator = world.operator().await;
    let token = operator.token("join", 2).await;
    let stranger = enrol(&world, &token.expose(), &inventory("mini"))
        .await
        .unwrap();
    let mut agent = stranger.connect().await;
    agent.ready().await;
    assert_eq!(
        agent.drained().await,
        "mini waits for approval: `mlx-fleet machine approve mini`"
    );
    assert_eq!(operator.machine("mini").await.state, "pending");
    assert_eq!(
        operator.machine("known").await.state,
        "idle",
        "it was in before"
    );

    // No job is made for it.
    let request = operator.request(wire::CheckPlanRequest {
        plan_toml: PLAN.to_owned(),
    });
    let checked = operator
        .client
        .check_plan(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(checked.jobs.len(), 1);
    assert_eq!(checked.jobs[0].machine, "known");
    assert_eq!(checked.left_out[0].machine, "mini");

    let approve = wire::ApproveMachineRequest {
        machine: "mini".to_owned(),
    };
    let mut of_role = operator.clone();
    of_role.token = operator.token("operator", 0).await;
    let refused = of_role
        .client
        .approve_machine(of_role.request(approve.clone()))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    for was_pending in [true, false] {
        let request = operator.request(approve.clone());
        let approved = operator.client.approve_machine(request).await.unwrap();
        assert_eq!(approved.into_inner().was_pending, was_pending);
    }
    agent.resumed().await;
    operator.submit(PLAN).await;
    agent.ready().await;
    // That it was ready before its rest counts no more: with the Ready that comes now its session would
    // forget the lease, and tell of no cancellation.
    let grant = agent.granted().await;
    operator.cancel("latest").await;
    assert!(matches!(
        agent.hear().await.unwrap(),
        Some(Down::Cancel(cancel)) if cancel.lease_id == grant.lease_id.to_string()
    ));

    // Whoever enrols as a machine that is in waits as well, and holds its jobs.
    enrol(&world, &token.expose(), &inventory("mini"))
        .await
        .unwrap();
    assert_eq!(operator.machine("mini").await.state, "pending");
}

#[tokio::test]
async fn labels_of_operators_go_before_those_of_agents_and_plans_select_by_both() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    let plan = format!("{PLAN}\n[machines]\nlabels = {{ lab = \"two\", room = \"7\" }}");
    assert_eq!(operator.try_submit(&plan).await.problems.len(), 1);

    let labels = operator
        .label(&[("lab", "two"), ("room", "7")], &[])
        .await
        .unwrap();
    assert_eq!(labels.len(), 2);
    // The agent says again what it declares, and changes nothing.
    machine.connect().await;
    operator.submit(&plan).await;
    let in_views = "select labels ->> 'lab' from report.machine";
    assert_eq!(world.texts(in_views).await, ["two"]);

    let labels = operator.label(&[], &["lab", "room"]).await.unwrap();
    assert_eq!(
        labels,
        HashMap::from([("lab".to_owned(), "one".to_owned())])
    );
    for (set, remove, told) in [
        (
            &[][..],
            &["lab"][..],
            "the agent of mini declares the label `lab`",
        ),
        (&[], &["romo"], "mini has no label `romo`"),
        (&[("two words", "x")], &[], "`two words` is no label's name"),
        (&[("room", "7\n8")], &[], "printable"),
    ] {
        let refused = operator.label(set, remove).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(told), "{refused}");
    }
}

#[tokio::test]
async fn the_list_tells_when_a_certificate_ends_and_that_a_machine_is_out() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    join(&world, &mut operator, "mini").await;
    assert_eq!(
        operator.machine("mini").await.doubts.len(),
        1,
        "its version"
    );
    let soon = "update fleet.certificate set expires_at = now() + interval '20 days'";
    sqlx::query(soon).execute(&world.db).await.unwrap();
    let doubts = operator.machine("mini").await.doubts;
    assert!(
        doubts[1].starts_with("its certificate ends on"),
        "{doubts:?}"
    );

    let request = operator.request(wire::RevokeMachineRequest {
        machine: "mini".to_owned(),
    });
    operator.client.revoke_machine(request).await.unwrap();
    let row = operator.machine("mini").await;
    assert_eq!((row.state.as_str(), row.doubts.len()), ("revoked", 1));
    assert!(
        row.doubts[0].contains("mlx-fleet machine add"),
        "{:?}",
        row.doubts
    );
    assert!(row.state_since_unix_us.is_some());
}

#[tokio::test]
async fn an_agent_that_is_to_be_upgraded_gets_no_job_until_it_is_ready_again() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let machine = join(&world, &mut operator, "mini").await;
    sqlx::query("update fleet.machine set last_seen_at = now() - interval '1 minute'")
        .execute(&world.db)
        .await
        .unwrap();
    let refused = operator.upgrade().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    let mut agent = machine.connect().await;
    agent.ready().await;
    operator.upgrade().await.unwrap();
    let heard = agent.hear().await.unwrap();
    assert!(matches!(heard, Some(Down::Upgrade(_))), "{heard:?}");
    operator.submit(PLAN).await;
    // What comes next is no job.
    operator.drain("mini", "").await;
    agent.drained().await;
    operator.resume("mini").await;
    agent.resumed().await;
    agent.ready().await;
    agent.granted().await;
    let told = operator.events("").await;
    let asked = told.iter().filter(|event| event.kind == "machine_upgrade");
    assert_eq!(asked.count(), 1);
}
