//! The agent's side of a session, as a pure machine: no I/O, no clock; [`Session::step`] says what to do.
//!
//! ```text
//!  link:   Down ──LinkUp: Hello──▶ Greeting ──Welcome: upload──▶ Up ◀─┐ Drained: no more Ready
//!            ▲                        │                         │     │ Resumed: Ready again
//!            └────────LinkDown────────┴─────────────────────────┘─────┘
//!
//!  work:   Idle ──Granted: StartWork──▶ At work ──Cancelled, LeaseLost, Refused, Stop: StopWork──▶ Stopping
//!            ▲                             │                                                          │
//!            └──────── WorkEnded ──────────┴──────────────────────────────────────────────────────────┘
//! ```
//!
//! Link and work are independent: a lost link stops no worker, and a lease that died meanwhile is
//! learnt from the next Welcome. An upgrade that was asked for waits until there is no work, and no
//! Ready is said from then until it is over, or this process is. Ready is said when the link is up, nobody drains or stops the
//! agent, there is no work, and no live lease of ours still waits for its last record to be
//! acknowledged (`unsettled`): the coordinator grants one live lease per machine.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ids::LeaseId;
use domain::lease::Grant;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The stream is open; these leases have batches on disk.
    LinkUp {
        spooled: BTreeSet<LeaseId>,
    },
    LinkDown,
    /// `spooled` is as of now, not as of the Hello: what was acknowledged in between is settled.
    Welcome {
        heartbeat: Duration,
        live: BTreeSet<LeaseId>,
        spooled: BTreeSet<LeaseId>,
    },
    Granted(Box<Grant>),
    LeaseLost {
        lease: LeaseId,
        reason: String,
    },
    Cancelled(LeaseId),
    /// The coordinator will not take something of the lease: its job has failed.
    Refused {
        lease: LeaseId,
        reason: String,
    },
    Drained,
    Resumed,
    /// The coordinator wants another release here.
    UpgradeAsked,
    /// Nobody sees to the upgrade any more, and this release still runs.
    UpgradeOver,
    HeartbeatDue,
    Progress(Progress),
    /// The job is over. `unsettled`: its last record is on disk and not yet acknowledged.
    WorkEnded {
        lease: LeaseId,
        unsettled: bool,
    },
    /// Nothing of the lease is left on disk.
    Settled(LeaseId),
    /// The daemon was asked to end.
    Stop,
}

/// What to do about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    SendHello {
        unfinished: BTreeSet<LeaseId>,
    },
    SendReady,
    SendHeartbeat(Option<LeaseId>),
    SendProgress(Progress),
    BeatEvery(Duration),
    StartUpload,
    StartWork(Box<Grant>),
    StopWork {
        lease: LeaseId,
        why: Stop,
    },
    /// Spool the end of a lease that cannot be worked on.
    GiveBack {
        lease: LeaseId,
        reason: &'static str,
    },
    /// Let whoever may replace this program know that it should.
    WishUpgrade,
    Exit,
}

/// Why work is stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An operator asked for it.
    Cancelled,
    /// The lease is dead: nothing more can count.
    Lost { reason: String },
    /// The coordinator will not take what was measured: the job has failed.
    Refused { reason: String },
    /// The daemon ends: the job goes back.
    Released,
}

/// For watchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub lease: LeaseId,
    pub launches_done: u32,
    pub launches_total: u32,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Greeting,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    At(LeaseId),
    Stopping(LeaseId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    No,
    Asked,
    Wished,
}

#[derive(Debug)]
pub struct Session {
    link: Link,
    work: Work,
    unsettled: BTreeSet<LeaseId>,
    draining: bool,
    upgrade: Upgrade,
    stopping: bool,
    said_ready: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    pub fn new() -> Self {
        Self {
            link: Link::Down,
            work: Work::Idle,
            unsettled: BTreeSet::new(),
            draining: false,
            upgrade: Upgrade::No,
            stopping: false,
            said_ready: false,
        }
    }

    /// The lease at work, if any.
    pub fn at_work(&self) -> Option<LeaseId> {
        match self.work {
            Work::Idle => None,
            Work::At(lease) | Work::Stopping(lease) => Some(lease),
        }
    }

    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::LinkUp { spooled } => {
                self.link = Link::Greeting;
                let unfinished = spooled.into_iter().chain(self.at_work()).collect();
                effects.push(Effect::SendHello { unfinished });
            }
            Input::LinkDown => {
                self.link = Link::Down;
                self.said_ready = false;
                // Which leases live on is for the next Welcome to say.
                self.unsettled.clear();
            }
            Input::Welcome {
                heartbeat,
                live,
                spooled,
            } => {
                self.link = Link::Up;
                self.draining = false;
                self.said_ready = false;
                effects.extend([Effect::BeatEvery(heartbeat), Effect::StartUpload]);
                if let Some(lease) = self.at_work()
                    && !live.contains(&lease)
                {
                    self.stop_work(&mut effects, lost("it was not live when the link returned"));
                }
                let at_work = self.at_work();
                self.unsettled = live.intersection(&spooled).copied().collect();
                self.unsettled.retain(|lease| Some(*lease) != at_work);
            }
            Input::Granted(grant) => self.granted(grant, &mut effects),
            Input::LeaseLost { lease, reason } => {
                self.unsettled.remove(&lease);
                if self.at_work() == Some(lease) {
                    self.stop_work(&mut effects, Stop::Lost { reason });
                }
            }
            Input::Cancelled(lease) => {
                if self.at_work() == Some(lease) {
                    self.stop_work(&mut effects, Stop::Cancelled);
                }
            }
            Input::Refused { lease, reason } => {
                if self.at_work() == Some(lease) {
                    self.stop_work(&mut effects, Stop::Refused { reason });
                }
            }
            Input::Drained => {
                self.draining = true;
                self.said_ready = false;
            }
            Input::Resumed => self.draining = false,
            Input::UpgradeAsked => {
                if self.upgrade == Upgrade::No {
                    self.upgrade = Upgrade::Asked;
                }
                self.said_ready = false;
            }
            Input::UpgradeOver => self.upgrade = Upgrade::No,
            Input::HeartbeatDue => {
                if self.link == Link::Up {
                    let lease = self.at_work().or(self.unsettled.first().copied());
                    effects.push(Effect::SendHeartbeat(lease));
                }
            }
            Input::Progress(progress) => {
                if self.link == Link::Up && self.at_work() == Some(progress.lease) {
                    effects.push(Effect::SendProgress(progress));
                }
            }
            Input::WorkEnded { lease, unsettled } => {
                if self.at_work() == Some(lease) {
                    self.work = Work::Idle;
                    if unsettled && self.link == Link::Up {
                        self.unsettled.insert(lease);
                    }
                }
            }
            Input::Settled(lease) => {
                self.unsettled.remove(&lease);
            }
            Input::Stop => {
                self.stopping = true;
                self.stop_work(&mut effects, Stop::Released);
            }
        }
        self.conclude(&mut effects);
        effects
    }

    fn granted(&mut self, grant: Box<Grant>, effects: &mut Vec<Effect>) {
        self.said_ready = false;
        let lease = grant.lease_id;
        if self.at_work() == Some(lease) {
            return;
        }
        let refusal = match self.work {
            Work::Idle if self.stopping => "the agent is stopping",
            Work::Idle => {
                self.work = Work::At(lease);
                effects.push(Effect::StartWork(grant));
                return;
            }
            Work::At(_) | Work::Stopping(_) => "the agent is at work on another job",
        };
        self.unsettled.insert(lease);
        effects.push(Effect::GiveBack {
            lease,
            reason: refusal,
        });
    }

    fn stop_work(&mut self, effects: &mut Vec<Effect>, why: Stop) {
        match self.work {
            Work::At(lease) => {
                self.work = Work::Stopping(lease);
                effects.push(Effect::StopWork { lease, why });
            }
            // A lease that dies while its work stops must not be finished; the job listens for it.
            Work::Stopping(lease) if matches!(why, Stop::Lost { .. }) => {
                effects.push(Effect::StopWork { lease, why });
            }
            Work::Stopping(_) | Work::Idle => {}
        }
    }

    /// What follows from the state alone: to say Ready, to wish for an upgrade, or to go.
    fn conclude(&mut self, effects: &mut Vec<Effect>) {
        if self.work != Work::Idle {
            return;
        }
        let settled = self.link != Link::Up || self.unsettled.is_empty();
        if self.stopping && settled {
            effects.push(Effect::Exit);
        } else if self.upgrade == Upgrade::Asked && settled && !self.stopping {
            self.upgrade = Upgrade::Wished;
            effects.push(Effect::WishUpgrade);
        } else if self.link == Link::Up
            && settled
            && self.upgrade == Upgrade::No
            && !self.stopping
            && !self.draining
            && !self.said_ready
        {
            self.said_ready = true;
            effects.push(Effect::SendReady);
        }
    }
}

fn lost(reason: &str) -> Stop {
    Stop::Lost {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
