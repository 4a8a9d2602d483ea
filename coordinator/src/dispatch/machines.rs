//! The list of machines, and what operators do with one: drain, resume, approve, label, revoke.
//!
//! ```text
//!              approve                drain
//!   pending ───────────▶ idle ◀────────────────▶ drained       offline: no heartbeat; it may be all
//!      ▲                  ▲ │ grant     resume      ▲          of these when it comes back
//!      │ enrolment,       │ ▼                       │
//!      │ where asked     busy ───drain──▶ draining ─┘ its job has ended
//!   revoked ◀──revoke── any of them
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::expand;
use domain::ids::MachineId;
use domain::lease::HEARTBEAT;
use domain::reason::Reason;
use time::OffsetDateTime;
use uuid::Uuid;

use super::changes::Changes;
use super::{Dispatch, Error, Result, VERSION};
use crate::store::event::{Event, Kind};
use crate::store::lease::State;
use crate::store::roster::{self, Rest, Summary};
use crate::store::{self, certificate, job, lease, machine, reading, wake};

/// A machine without a heartbeat for several of their intervals is offline.
const ONLINE_WITHIN: Duration = HEARTBEAT.saturating_mul(3);
/// Time enough to bring a join token to a machine whose certificate ends.
const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);
/// More machines than these are found faster among all.
const FEW: usize = 32;
const MAX_REASON_CHARS: usize = 200;
const MAX_LABELS: usize = 64;
const MAX_LABEL_CHARS: usize = 63;

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    Idle,
    Busy,
    /// Drained, and still at its last job.
    Draining,
    Drained,
    Offline,
    /// It waits for its approval.
    Pending,
    Revoked,
    /// Somebody else's, in imported results: it is never here.
    Imported,
}

impl MachineState {
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Busy,
        Self::Draining,
        Self::Drained,
        Self::Offline,
        Self::Pending,
        Self::Revoked,
        Self::Imported,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Offline => "offline",
            Self::Pending => "pending",
            Self::Revoked => "revoked",
            Self::Imported => "imported",
        }
    }

    pub fn of(machine: &Summary) -> Self {
        let is_revoked = |machine: &Summary| {
            let certificate = machine.certificate.as_ref();
            certificate.is_some_and(|certificate| certificate.revoked_at.is_some())
        };
        match machine {
            Summary { imported: true, .. } => Self::Imported,
            machine if is_revoked(machine) => Self::Revoked,
            Summary {
                approved_at: None, ..
            } => Self::Pending,
            Summary { online: false, .. } => Self::Offline,
            machine => match (&machine.drained, &machine.current_job) {
                (Some(_), Some(_)) => Self::Draining,
                (Some(_), None) => Self::Drained,
                (None, Some(_)) => Self::Busy,
                (None, None) => Self::Idle,
            },
        }
    }

    /// Since when, where that is known.
    pub fn since(self, machine: &Summary) -> Option<OffsetDateTime> {
        match self {
            Self::Idle | Self::Imported => None,
            Self::Busy => machine.current_job.as_ref()?.granted_at,
            Self::Draining | Self::Drained => Some(machine.drained.as_ref()?.at),
            Self::Offline => machine.last_seen_at,
            Self::Pending => Some(machine.enrolled_at),
            Self::Revoked => machine.certificate.as_ref()?.revoked_at,
        }
    }
}

/// What an operator should know of a machine beside its state, and how to mend it.
pub fn doubts(machine: &Summary) -> Vec<String> {
    let mut doubts = Vec::new();
    let Summary { name, .. } = machine;
    let state = MachineState::of(machine);
    match state {
        MachineState::Imported => return doubts,
        MachineState::Revoked => {
            let why = "its certificate was revoked, and nothing it sends is heard";
            doubts.push(format!(
                "{why}: to have it back, paste a new line of `mlx-fleet machine add` there"
            ));
            return doubts;
        }
        _ => {}
    }
    if machine.approved_at.is_none() {
        doubts.push(expand::unapproved(name));
    }
    if let Some(drained) = &machine.drained {
        doubts.push(resting(&drained.reason, &drained.by));
    }
    match (machine.refused_protocol, machine.agent_version.as_str()) {
        (Some(protocol), version) => doubts.push(format!(
            "its agent {version} speaks version {protocol} of the protocol, which this coordinator \
             {VERSION} does not, and is refused: install agents and coordinator of the same release"
        )),
        (None, version) if version != VERSION => doubts.push(format!(
            "agent {version} with coordinator {VERSION}: they understand each other; install the same \
             release when you can"
        )),
        (None, _) => {}
    }
    doubts.extend(doubted(machine));
    if let Some(certificate) = &machine.certificate {
        let when = certificate.expires_at.date();
        let mend = "start its agent with a new join token";
        if certificate.expired {
            doubts.push(format!("its certificate ended on {when}: {mend}"));
        } else if certificate.expires_soon {
            doubts.push(format!("its certificate ends on {when}: {mend} before"));
        }
    }
    doubts
}

/// Why what it measures is not sound.
fn doubted(machine: &Summary) -> Option<String> {
    let Some(newest) = &machine.newest_launch else {
        let words = || "it is a virtual machine: its numbers will be tainted".to_owned();
        return machine.virtual_machine.then(words);
    };
    let codes = newest.reasons.iter();
    let reasons: BTreeSet<Reason> = codes.filter_map(|code| code.parse().ok()).collect();
    let worst = reasons.iter().map(|reason| reason.severity()).min()?;
    let words: Vec<&str> = reasons.iter().map(|reason| reason.description()).collect();
    Some(format!(
        "its newest launch is {}: {}",
        worst.as_str(),
        words.join("; ")
    ))
}

/// `drained by ana (token 1f…): new disk`
fn resting(reason: &str, by: &str) -> String {
    let reason = if reason.is_empty() {
        ""
    } else {
        &format!(": {reason}")
    };
    format!("drained by {by}{reason}")
}

impl Dispatch {
    /// All machines, or the one of this name or id.
    pub async fn list_machines(&self, machine: &str) -> Result<Vec<Summary>> {
        let wanted = (!machine.is_empty()).then(|| vec![machine.to_owned()]);
        let found = summaries(&self.pool, wanted.as_deref()).await?;
        if found.is_empty() && wanted.is_some() {
            return Err(unknown(machine));
        }
        Ok(found)
    }

    /// The names of all machines, and of their chips.
    pub async fn machine_names(&self) -> Result<Vec<String>> {
        Ok(roster::names(&self.pool).await?)
    }

    /// The machines of these names.
    pub async fn machines_named(&self, names: &[String]) -> Result<Vec<Summary>> {
        Ok(summaries(&self.pool, Some(names)).await?)
    }

    /// What the sensors of machines at work said last: of each sensor so many readings, each value the mean of
    /// so many that follow one another.
    pub async fn recent_readings(
        &self,
        sensors: Vec<String>,
        newest: u32,
        stretch: u32,
    ) -> Result<Vec<reading::Recent>> {
        Ok(reading::recent(&self.pool, &sensors, newest, stretch).await?)
    }

    /// A machine by its name or id.
    pub(super) async fn find_machine(&self, machine: &str) -> Result<(MachineId, String)> {
        let found = machine::named(&self.pool, machine).await?;
        found.ok_or_else(|| unknown(machine))
    }

    /// It finishes the job that it has and gets no other until it is resumed. Says its name.
    pub async fn drain_machine(&self, machine: &str, reason: &str, actor: &str) -> Result<String> {
        printable("a reason", reason, MAX_REASON_CHARS)?;
        let (machine_id, name) = self.find_machine(machine).await?;
        let mut tx = store::begin(&self.pool).await?;
        roster::drain(&mut *tx, machine_id, actor, reason).await?;
        let drained = Event::new(Kind::MachineDrained, reason);
        changed(actor, machine_id, drained).commit(tx).await?;
        tracing::info!(machine = name, %machine_id, reason, "drained");
        Ok(name)
    }

    /// Says its name, and whether it was drained.
    pub async fn resume_machine(&self, machine: &str, actor: &str) -> Result<(String, bool)> {
        let (machine_id, name) = self.find_machine(machine).await?;
        let mut tx = store::begin(&self.pool).await?;
        if !roster::resume(&mut *tx, machine_id).await? {
            return Ok((name, false));
        }
        let resumed = Event::new(Kind::MachineResumed, "");
        changed(actor, machine_id, resumed).commit(tx).await?;
        tracing::info!(machine = name, %machine_id, "resumed");
        Ok((name, true))
    }

    /// Lets a machine in that waits for it. Says its name, and whether it waited.
    pub async fn approve_machine(&self, machine: &str, actor: &str) -> Result<(String, bool)> {
        let (machine_id, name) = self.find_machine(machine).await?;
        let mut tx = store::begin(&self.pool).await?;
        if !roster::approve(&mut *tx, machine_id, true).await? {
            return Ok((name, false));
        }
        let approved = Event::new(Kind::MachineApproved, "");
        changed(actor, machine_id, approved).commit(tx).await?;
        tracing::info!(machine = name, %machine_id, "approved");
        Ok((name, true))
    }

    /// Sets labels of a machine and takes others away that operators set. Says its name, and all its
    /// labels with its agent's.
    pub async fn label_machine(
        &self,
        machine: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
        actor: &str,
    ) -> Result<(String, BTreeMap<String, String>)> {
        for (key, value) in &set {
            check_label(key, value)?;
        }
        let (machine_id, name) = self.find_machine(machine).await?;
        let mut tx = store::begin(&self.pool).await?;
        let roster::Labels {
            agent,
            mut operator,
        } = roster::lock_labels(&mut *tx, machine_id).await?;
        for key in remove {
            if operator.remove(key).is_some() {
                continue;
            }
            return Err(Error::Invalid(if agent.contains_key(key) {
                format!(
                    "the agent of {name} declares the label `{key}`: start it without, or set another \
                     value here"
                )
            } else {
                format!("{name} has no label `{key}`")
            }));
        }
        operator.extend(set);
        if operator.len() > MAX_LABELS {
            return Err(Error::Invalid(format!(
                "a machine has at most {MAX_LABELS} labels of its operators"
            )));
        }
        roster::set_labels(&mut *tx, machine_id, &operator).await?;
        let labels: Vec<String> = operator.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let labelled = Event::new(Kind::MachineLabelled, labels.join(" "));
        changed(actor, machine_id, labelled).commit(tx).await?;
        let mut all = agent;
        all.extend(operator);
        Ok((name, all))
    }

    /// Why the machine's agent waits for a job in vain, in words for its log.
    pub async fn rest_of(&self, machine_id: MachineId) -> Result<Option<String>> {
        let rest = roster::rest(&self.pool, machine_id).await?;
        Ok(rest.map(|rest| match rest {
            Rest::Unapproved { name } => format!("{name} {}", expand::unapproved(&name)),
            Rest::Drained { reason } if reason.is_empty() => "drained by an operator".to_owned(),
            Rest::Drained { reason } => format!("drained by an operator: {reason}"),
        }))
    }

    /// An agent came whose protocol is another one: `machine list` says so.
    pub async fn refuse_protocol(
        &self,
        machine_id: MachineId,
        protocol: u32,
        agent_version: &str,
    ) -> Result<()> {
        let version: String = agent_version.chars().take(MAX_LABEL_CHARS).collect();
        tracing::warn!(%machine_id, protocol, version, "an agent of another protocol is refused");
        Ok(roster::refuse_protocol(&self.pool, machine_id, protocol, &version).await?)
    }

    /// Tells its agent, wherever it is connected, to have itself upgraded between jobs. Says its name.
    pub async fn upgrade_machine(&self, machine: &str, actor: &str) -> Result<String> {
        let (machine_id, name) = self.find_machine(machine).await?;
        let online = summaries(&self.pool, Some(&[machine_id.to_string()])).await?;
        if !online.iter().any(|machine| machine.online) {
            return Err(Error::Precondition(format!(
                "{name} is offline, and nobody hears that it should be upgraded"
            )));
        }
        let mut tx = store::begin(&self.pool).await?;
        wake::upgrade(&mut *tx, machine_id).await?;
        let asked = Event::new(Kind::MachineUpgrade, "");
        changed(actor, machine_id, asked).commit(tx).await?;
        tracing::info!(machine = name, %machine_id, "its agent is to be upgraded");
        Ok(name)
    }

    /// Takes a machine out of the fleet: its certificates are revoked, its session ends, and its jobs
    /// are skipped. Says its name and how many jobs that were; a new enrolment brings it back.
    pub async fn revoke_machine(&self, machine: &str, actor: &str) -> Result<(String, u32)> {
        let (machine_id, name) = self.find_machine(machine).await?;
        let why = "the certificate of its machine was revoked";
        let mut tx = store::begin(&self.pool).await?;
        // Leases before jobs, as everywhere; and again, for one that was granted in between.
        lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        certificate::revoke_of_machine(&mut *tx, machine_id).await?;
        let jobs = job::skip_of_machine(&mut *tx, machine_id, why).await?;
        let held = lease::lock_live_of_machine(&mut *tx, machine_id).await?;
        wake::session(&mut *tx, machine_id, Uuid::now_v7()).await?;

        let mut changes = Changes::by(actor);
        let detail = format!("{name}, {} jobs skipped", jobs.len());
        changes
            .events
            .push(Event::new(Kind::MachineRevoked, detail).machine(machine_id));
        if let Some(held) = held {
            lease::end(&mut *tx, &[held.lease_id], State::Cancelled).await?;
            let job = job::lock(&mut *tx, held.job_id).await?;
            let event = Event::new(Kind::LeaseCancelled, why).of_job(job.run_id, job.job_id);
            changes
                .events
                .push(event.machine(machine_id).lease(held.lease_id));
        }
        changes.ended_jobs_of = jobs.iter().copied().collect();
        changes.commit(tx).await?;
        tracing::info!(machine = name, jobs = jobs.len(), "revoked");
        Ok((name, jobs.len() as u32))
    }
}

/// One event of a machine, which its session and its operators hear of.
fn changed(actor: &str, machine_id: MachineId, event: Event) -> Changes {
    let mut changes = Changes::by(actor);
    changes.events.push(event.machine(machine_id));
    changes.machines.insert(machine_id);
    changes
}

pub(super) async fn summaries(
    executor: impl store::PgExecutor<'_>,
    wanted: Option<&[String]>,
) -> store::Result<Vec<Summary>> {
    let (online, soon) = (ONLINE_WITHIN.as_secs_f64(), EXPIRES_SOON.as_secs_f64());
    roster::summaries(executor, wanted, online, soon).await
}

/// A line for each of these machines whose jobs wait for it: it is offline, drained, or was thrown out.
pub(super) async fn notes_on(
    executor: impl store::PgExecutor<'_>,
    machines: &BTreeSet<MachineId>,
) -> Result<Vec<String>> {
    let few = machines.len() <= FEW;
    let wanted: Option<Vec<String>> =
        few.then(|| machines.iter().map(ToString::to_string).collect());
    let found = summaries(executor, wanted.as_deref()).await?;
    let meant = found
        .into_iter()
        .filter(|machine| machines.contains(&machine.machine_id));
    Ok(meant
        .flat_map(|machine| {
            let name = &machine.name;
            let state = MachineState::of(&machine);
            let revoked = (state == MachineState::Revoked).then(|| {
                format!("{name} was revoked and its jobs wait until it joins with a new token")
            });
            let offline = (state == MachineState::Offline).then(|| {
                format!(
                    "{name} is offline and its jobs wait for it; if it will not come back: \
                     `mlx-fleet machine revoke {name}`"
                )
            });
            let drained = machine.drained.as_ref().map(|drained| {
                format!(
                    "{name} is {} and its jobs wait until `mlx-fleet machine resume {name}`",
                    resting(&drained.reason, &drained.by)
                )
            });
            [revoked, offline, drained]
        })
        .flatten()
        .collect())
}

fn printable(what: &str, text: &str, most: usize) -> Result<()> {
    if text.chars().count() <= most && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{what} has at most {most} printable characters"
    )))
}

fn check_label(key: &str, value: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if key.is_empty() || key.len() > MAX_LABEL_CHARS || !key.chars().all(allowed) {
        return Err(Error::Invalid(format!(
            "`{}` is no label's name: 1 to {MAX_LABEL_CHARS} of the characters a-z, A-Z, 0-9, `.`, `_`, \
             `-` and `/`",
            key.escape_debug()
        )));
    }
    printable(&format!("the label `{key}`"), value, MAX_LABEL_CHARS)
}

fn unknown(machine: &str) -> Error {
    Error::NotFound {
        noun: "machine",
        name: machine.to_owned(),
        help: ": `mlx-fleet machine list` shows them",
    }
}
