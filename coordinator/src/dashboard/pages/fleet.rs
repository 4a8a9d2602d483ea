//! The machines of the fleet: what each is, does, and why it is not measuring.

use askama::Template;

use super::moment::moment;
use super::written;
use crate::dashboard::live;
use crate::dispatch::machines::{self, MachineState};
use crate::dispatch::tokens::Role;
use crate::dispatch::{Dispatch, Result};
use crate::store::roster::Summary;

const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Fleet {
    /// How many machines are in each state that one is in.
    tally: Vec<(MachineState, usize)>,
    rows: Vec<Row>,
    may_add: bool,
}

struct Row {
    machine: Summary,
    state: MachineState,
    /// As HTML.
    since: Option<String>,
    doubts: Vec<String>,
    memory_gib: String,
    offers: Vec<Offer>,
}

/// What may be done with a machine, by whoever looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    Drain,
    Resume,
    Approve,
    Revoke,
}

pub async fn main(dispatch: &Dispatch, role: Role) -> Result<String> {
    let machines = dispatch.list_machines("").await?;
    let rows: Vec<Row> = machines
        .into_iter()
        .map(|machine| row(machine, role))
        .collect();
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let tally = MachineState::ALL.map(|state| (state, count(state)));
    written(&Fleet {
        tally: tally.into_iter().filter(|(_, count)| *count > 0).collect(),
        rows,
        may_add: role >= Role::Admin,
    })
}

fn row(machine: Summary, role: Role) -> Row {
    let state = MachineState::of(&machine);
    Row {
        since: state.since(&machine).as_ref().map(moment),
        doubts: machines::doubts(&machine),
        memory_gib: format!("{:.0}", machine.memory_bytes as f64 / GIB),
        offers: offers(&machine, state, role),
        state,
        machine,
    }
}

fn offers(machine: &Summary, state: MachineState, role: Role) -> Vec<Offer> {
    if matches!(state, MachineState::Imported | MachineState::Revoked) {
        return Vec::new();
    }
    let (operator, admin) = (role >= Role::Operator, role >= Role::Admin);
    let drained = machine.drained.is_some();
    [
        (Offer::Approve, admin && !machine.approved),
        (Offer::Drain, operator && !drained),
        (Offer::Resume, operator && drained),
        (Offer::Revoke, admin),
    ]
    .into_iter()
    .filter_map(|(offer, may)| may.then_some(offer))
    .collect()
}
