//! The machine under random histories, played against the simplest truthful surroundings.

use proptest::prelude::*;

use super::*;
use crate::job::tests::grant;

const BEAT: Duration = Duration::from_secs(5);

/// What may happen next, before it is fitted to the state of the world.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Connect,
    Disconnect,
    Welcome { forget: bool },
    Grant,
    LoseLease,
    Cancel,
    Refuse,
    Drain,
    Resume,
    AskUpgrade,
    UpgradeOver,
    Beat,
    WorkEnds,
    Acknowledge,
    Stop,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => Just(Connect),
        2 => Just(Disconnect),
        4 => any::<bool>().prop_map(|forget| Welcome { forget }),
        6 => Just(Grant),
        1 => Just(LoseLease),
        1 => Just(Cancel),
        1 => Just(Refuse),
        1 => Just(Drain),
        1 => Just(Resume),
        1 => Just(AskUpgrade),
        2 => Just(UpgradeOver),
        2 => Just(Beat),
        4 => Just(WorkEnds),
        4 => Just(Acknowledge),
        1 => Just(Stop),
    ]
}

/// A coordinator, a disk and a worker that tell the truth.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are free of each other"
)]
struct World {
    session: Session,
    connected: bool,
    welcomed: bool,
    ready: bool,
    /// It wishes to be upgraded.
    wished: bool,
    /// The lease with a running worker, and whether it was told to stop, and why.
    working: Option<(LeaseId, Option<Stop>)>,
    /// Leases with a last record on disk, or with records of a dead lease.
    spooled: BTreeSet<LeaseId>,
    live: BTreeSet<LeaseId>,
    granted: BTreeSet<LeaseId>,
    /// Ended by a last record, or by the word of the coordinator.
    finished: BTreeSet<LeaseId>,
    lost: BTreeSet<LeaseId>,
    stopped: bool,
    exited: bool,
}

impl World {
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each thing that may happen"
    )]
    fn happen(&mut self, happening: Happening) {
        if self.exited {
            return;
        }
        let at_work = self.working.as_ref().map(|(lease, _)| *lease);
        match happening {
            Happening::Connect if !self.connected => {
                self.connected = true;
                let spooled = self.spooled.clone();
                self.step(Input::LinkUp { spooled });
            }
            Happening::Disconnect if self.connected => {
                (self.connected, self.welcomed, self.ready) = (false, false, false);
                self.step(Input::LinkDown);
            }
            Happening::Welcome { forget } if self.connected && !self.welcomed => {
                if forget {
                    self.lost.extend(std::mem::take(&mut self.live));
                }
                self.welcomed = true;
                let input = Input::Welcome {
                    heartbeat: BEAT,
                    live: self.live.clone(),
                    spooled: self.spooled.clone(),
                };
                self.step(input);
            }
            Happening::Grant if self.welcomed => {
                let grant = grant("synthetic:nano-llama", 1, 1);
                self.ready = false;
                self.granted.insert(grant.lease_id);
                self.live.insert(grant.lease_id);
                self.step(Input::Granted(Box::new(grant)));
            }
            Happening::LoseLease => {
                if let Some(lease) = self.live.pop_first() {
                    self.lost.insert(lease);
                    // Who is away learns it from the next Welcome.
                    if self.welcomed {
                        let reason = "expired".to_owned();
                        self.step(Input::LeaseLost { lease, reason });
                    }
                }
            }
            Happening::Cancel if self.welcomed => {
                if let Some(&lease) = self.live.first() {
                    self.step(Input::Cancelled(lease));
                }
            }
            Happening::Refuse if self.welcomed => {
                if let Some(lease) = at_work {
                    let reason = "no such metric".to_owned();
                    self.step(Input::Refused { lease, reason });
                    let told = self.working.as_ref().and_then(|(_, why)| why.as_ref());
                    assert!(told.is_some(), "works on for nothing");
                }
            }
            Happening::Drain if self.welcomed => {
                self.ready = false;
                self.step(Input::Drained);
            }
            Happening::Resume if self.welcomed => self.step(Input::Resumed),
            Happening::AskUpgrade if self.welcomed => {
                self.ready = false;
                self.step(Input::UpgradeAsked);
            }
            Happening::UpgradeOver if self.wished => {
                self.wished = false;
                self.step(Input::UpgradeOver);
            }
            Happening::Beat => self.step(Input::HeartbeatDue),
            Happening::WorkEnds => {
                if let Some((lease, why)) = self.working.take() {
                    let recorded = !matches!(why, Some(Stop::Lost { .. }));
                    if recorded {
                        assert!(self.finished.insert(lease), "finished twice");
                        self.spooled.insert(lease);
                    }
                    self.step(Input::WorkEnded {
                        lease,
                        unsettled: recorded,
                    });
                }
            }
            Happening::Acknowledge if self.welcomed => {
                if let Some(lease) = self.spooled.pop_first() {
                    self.live.remove(&lease);
                    self.step(Input::Settled(lease));
                }
            }
            Happening::Stop if !self.stopped => {
                self.stopped = true;
                self.step(Input::Stop);
            }
            _ => {}
        }
        assert_eq!(
            self.session.at_work(),
            self.working.as_ref().map(|(lease, _)| *lease)
        );
        let lost_its_lease = at_work.filter(|lease| self.lost.contains(lease) && self.welcomed);
        if let Some((lease, why)) = &self.working
            && Some(*lease) == lost_its_lease
        {
            assert!(
                matches!(why, Some(Stop::Lost { .. })),
                "works on without a lease"
            );
        }
    }

    fn step(&mut self, input: Input) {
        let beat = matches!(input, Input::HeartbeatDue);
        for effect in self.session.step(input) {
            self.check(effect, beat);
        }
    }

    fn check(&mut self, effect: Effect, beat: bool) {
        assert!(!self.exited, "{effect:?} after the end");
        match effect {
            Effect::SendHello { unfinished } => {
                assert!(self.connected && !self.welcomed);
                let at_work = self.working.as_ref().map(|(lease, _)| *lease);
                let all: BTreeSet<_> = self.spooled.iter().copied().chain(at_work).collect();
                assert_eq!(unfinished, all);
            }
            Effect::SendReady => {
                assert!(self.welcomed && !self.ready && !self.stopped);
                assert!(self.working.is_none(), "ready while at work");
                assert!(!self.wished, "ready while it may be replaced");
                assert!(
                    self.live.is_disjoint(&self.spooled),
                    "ready before the end is known"
                );
                self.ready = true;
            }
            Effect::SendHeartbeat(lease) => {
                assert!(beat && self.welcomed);
                if let Some((working, _)) = &self.working {
                    assert_eq!(lease, Some(*working));
                }
            }
            Effect::SendProgress(_) => unreachable!("none is made here"),
            Effect::BeatEvery(every) => assert_eq!(every, BEAT),
            Effect::StartUpload => assert!(self.welcomed),
            Effect::StartWork(grant) => {
                assert!(self.working.is_none(), "two jobs at once");
                assert!(!self.stopped, "a new job after the stop");
                self.working = Some((grant.lease_id, None));
            }
            Effect::StopWork { lease, why } => {
                let (working, told) = self.working.as_mut().expect("a job to stop");
                assert_eq!(*working, lease);
                *told = Some(why);
            }
            Effect::GiveBack { lease, .. } => {
                assert!(self.finished.insert(lease), "finished twice");
                self.spooled.insert(lease);
            }
            Effect::WishUpgrade => {
                assert!(self.working.is_none(), "replaced while at work");
                assert!(!self.wished && !self.stopped);
                self.wished = true;
            }
            Effect::Exit => {
                assert!(self.stopped && self.working.is_none());
                self.exited = true;
            }
        }
    }
}

proptest! {
    // What fails is kept in `proptest-regressions`, and comes first from then on.
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_history_breaks_the_promises(happenings in prop::collection::vec(happening(), 0..120)) {
        let mut world = World::default();
        for happening in happenings {
            world.happen(happening);
        }
        // Let everything end: whoever works finishes, the link returns, all is acknowledged.
        for _ in 0..=world.granted.len() {
            world.happen(Happening::WorkEnds);
            world.happen(Happening::Connect);
            world.happen(Happening::Welcome { forget: false });
            world.happen(Happening::Acknowledge);
        }
        for lease in &world.granted {
            // Exactly one end: its last record, or the coordinator's word that it is dead. A lease
            // can die after its last record was written, never before a second.
            prop_assert!(
                world.exited || world.finished.contains(lease) || world.lost.contains(lease),
                "{lease} never ended"
            );
        }
        if world.stopped {
            prop_assert!(world.exited, "stopped and did not end");
        } else if !world.session.draining && world.session.upgrade == Upgrade::No {
            prop_assert!(world.ready, "idle and not ready");
        }
    }
}

fn up(session: &mut Session, live: &[LeaseId]) -> Vec<Effect> {
    session.step(Input::LinkUp {
        spooled: BTreeSet::new(),
    });
    session.step(Input::Welcome {
        heartbeat: BEAT,
        live: live.iter().copied().collect(),
        spooled: BTreeSet::new(),
    })
}

#[test]
fn a_welcome_that_does_not_know_the_lease_stops_its_work() {
    let mut session = Session::new();
    up(&mut session, &[]);
    let grant = grant("synthetic:nano-llama", 1, 1);
    let lease = grant.lease_id;
    session.step(Input::Granted(Box::new(grant)));
    session.step(Input::LinkDown);
    let effects = up(&mut session, &[lease]);
    assert!(
        !effects.iter().any(|e| matches!(e, Effect::StopWork { .. })),
        "{effects:?}"
    );
    session.step(Input::LinkDown);
    let effects = up(&mut session, &[]);
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::StopWork { lease: stopped, why: Stop::Lost { .. } } if *stopped == lease
    )));
}

#[test]
fn a_drained_agent_is_ready_again_when_it_is_resumed_or_welcomed() {
    let mut session = Session::new();
    assert!(up(&mut session, &[]).contains(&Effect::SendReady));
    session.step(Input::Drained);
    assert_eq!(session.step(Input::Settled(LeaseId::new())), []);
    assert_eq!(session.step(Input::Resumed), [Effect::SendReady]);
    assert_eq!(session.step(Input::Resumed), []);
    session.step(Input::Drained);
    session.step(Input::LinkDown);
    assert!(up(&mut session, &[]).contains(&Effect::SendReady));
}

#[test]
fn a_lease_that_dies_while_it_is_cancelled_is_told_to_the_job() {
    let mut session = Session::new();
    up(&mut session, &[]);
    let grant = grant("synthetic:nano-llama", 1, 1);
    let lease = grant.lease_id;
    session.step(Input::Granted(Box::new(grant)));
    session.step(Input::Cancelled(lease));
    let reason = "expired".to_owned();
    let effects = session.step(Input::LeaseLost { lease, reason });
    assert!(matches!(
        &effects[..],
        [Effect::StopWork {
            why: Stop::Lost { .. },
            ..
        }]
    ));
}

#[test]
fn an_upgrade_waits_for_the_job_and_no_job_comes_before_it_is_over() {
    let mut session = Session::new();
    up(&mut session, &[]);
    let grant = grant("synthetic:nano-llama", 1, 1);
    let lease = grant.lease_id;
    session.step(Input::Granted(Box::new(grant)));
    assert_eq!(session.step(Input::UpgradeAsked), []);
    let unsettled = true;
    assert_eq!(session.step(Input::WorkEnded { lease, unsettled }), []);
    assert_eq!(session.step(Input::Settled(lease)), [Effect::WishUpgrade]);
    assert_eq!(session.step(Input::UpgradeAsked), []);
    session.step(Input::LinkDown);
    assert!(!up(&mut session, &[]).contains(&Effect::SendReady));
    assert_eq!(session.step(Input::UpgradeOver), [Effect::SendReady]);
}
