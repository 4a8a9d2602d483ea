//! The machines of the fleet: what each is, does, and why it is not measuring.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use time::OffsetDateTime;

use super::{failure, shown};
use crate::dispatch::machines::{self, MachineState};
use crate::dispatch::tokens::{Caller, Role};
use crate::dispatch::{Dispatch, VERSION};
use crate::store::roster::Summary;

const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Fleet {
    caller: Caller,
    version: &'static str,
    now: Moment,
    /// How many machines are in each state that one is in.
    tally: Vec<(MachineState, usize)>,
    rows: Vec<Row>,
}

struct Row {
    machine: Summary,
    state: MachineState,
    since: Option<Moment>,
    seen: Option<Moment>,
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

/// A time for people, and the whole of it for who points at it.
struct Moment {
    whole: String,
    brief: String,
}

pub async fn fleet(
    State(dispatch): State<Dispatch>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let machines = match dispatch.list_machines("").await {
        Ok(machines) => machines,
        Err(error) => return failure(&error),
    };
    let now = OffsetDateTime::now_utc();
    let rows: Vec<Row> = machines
        .into_iter()
        .map(|machine| row(machine, caller.role, now))
        .collect();
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let tally = MachineState::ALL.map(|state| (state, count(state)));
    let page = Fleet {
        caller,
        version: VERSION,
        now: Moment::of(now, now),
        tally: tally.into_iter().filter(|(_, count)| *count > 0).collect(),
        rows,
    };
    shown(StatusCode::OK, &page)
}

fn row(machine: Summary, role: Role, now: OffsetDateTime) -> Row {
    let state = MachineState::of(&machine);
    let at = |at| Moment::of(at, now);
    Row {
        since: state.since(&machine).map(at),
        seen: machine.last_seen_at.map(at),
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

impl Moment {
    fn of(at: OffsetDateTime, now: OffsetDateTime) -> Self {
        let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
        let clock = format!("{hour:02}:{minute:02}:{second:02}");
        Self {
            whole: format!("{date} {clock} UTC"),
            brief: if date == now.date() {
                clock
            } else {
                format!("{date} {hour:02}:{minute:02}")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_of_today_is_a_clocks_and_another_has_its_day() {
        let now = datetime!(2026-03-04 09:05:07 UTC);
        let moment = Moment::of(now, now);
        assert_eq!(moment.brief, "09:05:07");
        assert_eq!(moment.whole, "2026-03-04 09:05:07 UTC");
        let before = Moment::of(datetime!(2026-03-03 23:59:00 UTC), now);
        assert_eq!(before.brief, "2026-03-03 23:59");
    }
}
