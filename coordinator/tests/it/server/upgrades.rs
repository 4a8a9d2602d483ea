//! `mlx-fleet machine upgrade` over several machines, whose agents are fake ones.

use std::fs;
use std::process::{Output, Stdio};

use domain::machine::{Inventory, RELEASE_DIGITS, RELEASE_LABEL};
use proto::wire::session_down::Message as Down;
use tokio::process::{Child, Command};

use super::fake_agent::{FakeAgent, Machine, enrol, inventory};
use super::world::{World, soon};
use crate::fleet::{mlx_fleet, stderr, stdout};

/// That a machine is asked, of all of them.
const ASKED: &str = "select count(*) from fleet.event where kind = 'machine_upgrade'";

fn runs(release: &str, hostname: &str) -> Inventory {
    let mut inventory = inventory(hostname);
    let label = release[..RELEASE_DIGITS].to_owned();
    inventory.labels.insert(RELEASE_LABEL.to_owned(), label);
    inventory
}

fn upgrade(world: &World, timeout: &str) -> Child {
    let mut command = Command::from(mlx_fleet());
    command
        .args(["machine", "upgrade", "--timeout", timeout])
        .args(["--coordinator", &world.url()])
        .arg("--token-file")
        .arg(world.folder.operator_token())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn is_asked(agent: &mut FakeAgent) {
    let heard = agent.hear().await.unwrap();
    assert!(matches!(heard, Some(Down::Upgrade(_))), "{heard:?}");
}

#[tokio::test]
async fn machines_are_upgraded_one_after_another_and_none_after_one_that_is_not() {
    let world = World::start().await;
    let mut operator = world.operator().await;
    let (old, new) = ("0".repeat(64), "ab".repeat(32));
    let folder = world.folder.root().join("releases");
    fs::create_dir(&folder).unwrap();
    let name = "mlx-fleet-0.2.0-macos14-arm64.tar.gz";
    fs::write(folder.join(name), "an archive").unwrap();
    fs::write(folder.join("SHA256SUMS"), format!("{new}  {name}\n")).unwrap();
    let token = operator.token("join", 3).await;
    let mut machines: Vec<Machine> = Vec::new();
    let mut agents = Vec::new();
    for hostname in ["first", "second", "third"] {
        let inventory = runs(&old, hostname);
        let machine = enrol(&world, &token.expose(), &inventory).await.unwrap();
        agents.push(machine.connect().await);
        machines.push(machine);
    }
    // However slow this test is, they do not fall silent in its midst.
    let here = "update fleet.machine set last_seen_at = now() + interval '1 hour'";
    sqlx::query(here).execute(&world.db).await.unwrap();

    let rolled = upgrade(&world, "8s");
    is_asked(&mut agents[0]).await;
    assert_eq!(world.number(ASKED).await, 1, "the others wait");
    // It comes back with the new release; of the second nothing more is heard.
    machines[0].inventory = runs(&new, "first");
    agents[0] = machines[0].connect().await;
    sqlx::query(here).execute(&world.db).await.unwrap();
    is_asked(&mut agents[1]).await;
    assert_eq!(world.number(ASKED).await, 2);
    let ended: Output = soon("the end", rolled.wait_with_output()).await.unwrap();
    assert!(!ended.status.success());
    assert_eq!(stdout(&ended), "first: upgraded\n");
    let told = stderr(&ended);
    assert!(
        told.contains("second is idle") && told.contains("Nobody else was asked"),
        "{told}"
    );
    assert_eq!(world.number(ASKED).await, 2, "the third was spared");

    let again = upgrade(&world, "1s");
    let ended = soon("the end", again.wait_with_output()).await.unwrap();
    assert_eq!(stdout(&ended), "first: runs it already\n");
}
