//! The machines of the fleet: what each is, does, and why it is not measuring.

use askama::Template;
use report_gen::report::CaseKey;

use super::moment::moment;
use super::written;
use crate::dashboard::gauges::Gauge;
use crate::dashboard::{Desk, live};
use crate::dispatch::Result;
use crate::dispatch::machines::{self, MachineState};
use crate::dispatch::tokens::Role;
use crate::store::roster::Summary;

const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Fleet<'a> {
    /// How many machines are in each state that one is in.
    tally: Vec<(MachineState, usize)>,
    rows: Vec<Row<'a>>,
    may_add: bool,
}

struct Row<'a> {
    machine: Summary,
    /// What it measures now: the case, and since when as HTML.
    launch: Option<(String, String)>,
    gauges: &'a [Gauge],
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
    Label,
    Approve,
    Revoke,
}

pub async fn main(desk: &Desk, role: Role) -> Result<String> {
    let machines = desk.dispatch.list_machines("").await?;
    let gauges = desk.gauges.shown(&desk.dispatch, &desk.tasks).await;
    let row = |machine: Summary| {
        let gauges = gauges
            .get(&machine.machine_id)
            .map_or(&[][..], Vec::as_slice);
        row(machine, gauges, role)
    };
    let rows: Vec<Row> = machines.into_iter().map(row).collect();
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let tally = MachineState::ALL.map(|state| (state, count(state)));
    written(&Fleet {
        tally: tally.into_iter().filter(|(_, count)| *count > 0).collect(),
        rows,
        may_add: role >= Role::Admin,
    })
}

fn row(machine: Summary, gauges: &[Gauge], role: Role) -> Row<'_> {
    let state = MachineState::of(&machine);
    // What was last heard of one that is away is no news of it.
    let here = state != MachineState::Offline;
    let gauges = if here { gauges } else { &[] };
    let job = machine.current_job.as_ref().filter(|_| here);
    let launch = job.and_then(|job| job.launch.clone());
    Row {
        launch: launch.map(|launch| {
            (
                CaseKey::from(launch.case_key).words(),
                moment(&launch.started_at),
            )
        }),
        gauges,
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
        (Offer::Approve, admin && machine.approved_at.is_none()),
        (Offer::Drain, operator && !drained),
        (Offer::Resume, operator && drained),
        (Offer::Label, operator),
        (Offer::Revoke, admin),
    ]
    .into_iter()
    .filter_map(|(offer, may)| may.then_some(offer))
    .collect()
}
