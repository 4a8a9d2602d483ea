//! What goes wrong when: drawn from the seed and the round's number alone, so that a round can be had again.
//!
//! Faults are cards. A deck holds each once; rounds deal from shuffled decks, one after another, so that
//! a few rounds have every kind.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::proxy::Weather;

/// Faults of one round.
pub const HAND: usize = 12;
/// Over which a round's faults begin.
pub const SPAN: Duration = Duration::from_secs(20);

/// Most faults last so long.
const SHORT_MS: (u64, u64) = (200, 4_000);
/// And one in so many for longer than a lease lives.
const ONE_IS_LONG: u32 = 16;
const LONG_MS: (u64, u64) = (31_000, 36_000);
/// So long a machine that was cut off is given up before its twin may have its job.
const EXILE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP, and SIGCONT later.
    Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Worker(Blow),
    Agent(Blow),
    Coordinator(Blow),
    Postgres(Blow),
    LinkCut,
    LinkSlow,
    LinkStalled,
    LinkHalfOpen,
    LinkReordered,
    /// A second agent with the first one's certificate.
    Twin,
    /// A machine is cut off, its lease expires, its twin takes the job, and it comes back.
    Exile,
    /// The machine starts anew in the middle of whatever it does.
    Reboot,
    /// Of the database: every live lease is over.
    ClockJump,
    /// Everything is killed, and started again.
    PowerCut,
    /// Everything is stopped in order, and started again.
    Restart,
}

impl Fault {
    const ALL: [Self; 23] = [
        Self::Worker(Blow::Kill),
        Self::Worker(Blow::Stop),
        Self::Worker(Blow::Pause),
        Self::Agent(Blow::Kill),
        Self::Agent(Blow::Stop),
        Self::Agent(Blow::Pause),
        Self::Coordinator(Blow::Kill),
        Self::Coordinator(Blow::Stop),
        Self::Coordinator(Blow::Pause),
        Self::Postgres(Blow::Kill),
        Self::Postgres(Blow::Stop),
        Self::Postgres(Blow::Pause),
        Self::LinkCut,
        Self::LinkSlow,
        Self::LinkStalled,
        Self::LinkHalfOpen,
        Self::LinkReordered,
        Self::Twin,
        Self::Exile,
        Self::Reboot,
        Self::ClockJump,
        Self::PowerCut,
        Self::Restart,
    ];

    pub fn name(self) -> String {
        let (who, blow) = match self {
            Self::Worker(blow) => ("worker", blow),
            Self::Agent(blow) => ("agent", blow),
            Self::Coordinator(blow) => ("coordinator", blow),
            Self::Postgres(blow) => ("Postgres", blow),
            Self::LinkCut => return "link cut".to_owned(),
            Self::LinkSlow => return "link slow".to_owned(),
            Self::LinkStalled => return "link stalled".to_owned(),
            Self::LinkHalfOpen => return "link half-open".to_owned(),
            Self::LinkReordered => return "link reordered".to_owned(),
            Self::Twin => return "twin of an agent".to_owned(),
            Self::Exile => return "job granted elsewhere".to_owned(),
            Self::Reboot => return "machine rebooted".to_owned(),
            Self::ClockJump => return "database clock jumped".to_owned(),
            Self::PowerCut => return "everything killed".to_owned(),
            Self::Restart => return "everything restarted".to_owned(),
        };
        let how = match blow {
            Blow::Kill => "killed",
            Blow::Stop => "stopped",
            Blow::Pause => "paused",
        };
        format!("{who} {how}")
    }

    /// Of a fault on this agent that lasts so long, what is done when, from its beginning on.
    fn steps(self, agent: usize, lasts: Duration, rng: &mut ChaCha8Rng) -> Vec<(Duration, Step)> {
        let now = Duration::ZERO;
        let weather = |weather| {
            vec![
                (now, Step::Weather(agent, weather)),
                (lasts, Step::Weather(agent, Weather::Fair)),
            ]
        };
        match self {
            Self::Worker(blow) => hit(Victim::Worker(agent), blow, lasts),
            Self::Agent(blow) => hit(Victim::Agent(agent), blow, lasts),
            Self::Coordinator(blow) => hit(Victim::Coordinator, blow, lasts),
            Self::Postgres(blow) => hit(Victim::Postgres, blow, lasts),
            Self::LinkCut => weather(Weather::Cut),
            Self::LinkSlow => weather(Weather::Slow(Duration::from_millis(
                rng.random_range(20..500),
            ))),
            Self::LinkStalled => weather(Weather::Stalled),
            Self::LinkHalfOpen => weather(Weather::Swallowing),
            Self::LinkReordered => weather(Weather::Late(lasts / 2)),
            Self::Twin => vec![
                (now, Step::TwinUp(agent)),
                (lasts, Step::TwinDown(agent, blow(rng))),
            ],
            Self::Exile => vec![
                (now, Step::Weather(agent, Weather::Cut)),
                (EXILE, Step::Expire(Some(agent))),
                (EXILE, Step::TwinUp(agent)),
                (EXILE + lasts, Step::Weather(agent, Weather::Fair)),
                (EXILE + lasts * 2, Step::TwinDown(agent, blow(rng))),
            ],
            Self::Reboot => vec![
                (now, Step::Reboot(agent)),
                (lasts, Step::Up(Victim::Agent(agent))),
            ],
            Self::ClockJump => vec![(now, Step::Expire(None))],
            Self::PowerCut => vec![(now, Step::PowerCut), (lasts, Step::AllUp)],
            Self::Restart => vec![(now, Step::StopAll), (lasts, Step::AllUp)],
        }
    }
}

fn blow(rng: &mut ChaCha8Rng) -> Blow {
    if rng.random() { Blow::Kill } else { Blow::Stop }
}

fn hit(victim: Victim, blow: Blow, lasts: Duration) -> Vec<(Duration, Step)> {
    vec![
        (Duration::ZERO, Step::Hit(victim, blow)),
        (lasts, Step::Up(victim)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Worker(usize),
    Agent(usize),
    Coordinator,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Hit(Victim, Blow),
    /// Started where it is down, continued where it was paused.
    Up(Victim),
    Weather(usize, Weather),
    TwinUp(usize),
    TwinDown(usize, Blow),
    /// The lease of one agent's machine, or of all, is over.
    Expire(Option<usize>),
    Reboot(usize),
    PowerCut,
    StopAll,
    AllUp,
}

/// One thing to do; the first of a fault names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Duration,
    pub step: Step,
    pub begins: Option<Fault>,
}

/// The round's steps in their order.
pub fn draw(seed: u64, round: u64, agents: usize) -> Vec<Due> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(round);
    let mut all = Vec::new();
    for fault in deal(seed, round) {
        let at = SPAN.mul_f64(rng.random());
        let (from, to) = if rng.random_ratio(1, ONE_IS_LONG) {
            LONG_MS
        } else {
            SHORT_MS
        };
        let lasts = Duration::from_millis(rng.random_range(from..to));
        let agent = rng.random_range(0..agents);
        let steps = fault.steps(agent, lasts, &mut rng).into_iter();
        all.extend(steps.enumerate().map(|(place, (after, step))| Due {
            at: at + after,
            step,
            begins: (place == 0).then_some(fault),
        }));
    }
    all.sort_by_key(|due| due.at);
    all
}

fn deal(seed: u64, round: u64) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let decks = std::iter::repeat_with(|| {
        let mut deck = Fault::ALL;
        deck.shuffle(&mut rng);
        deck
    });
    let skipped = (round as usize - 1) * HAND;
    decks.flatten().skip(skipped).take(HAND).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_and_round_bring_the_same_faults_and_another_seed_others() {
        assert_eq!(draw(7, 3, 3), draw(7, 3, 3));
        assert_ne!(draw(7, 3, 3), draw(8, 3, 3));
        assert_ne!(draw(7, 3, 3), draw(7, 4, 3));
    }

    #[test]
    fn two_rounds_have_every_kind_of_fault() {
        let dealt = (1..=2).flat_map(|round| draw(1, round, 3));
        let names: BTreeSet<String> = dealt.filter_map(|due| Some(due.begins?.name())).collect();
        assert_eq!(names.len(), Fault::ALL.len(), "{names:?}");
    }

    #[test]
    fn whatever_a_fault_takes_down_is_brought_up_again() {
        for round in 1..=50 {
            let steps: Vec<Step> = draw(1, round, 3).iter().map(|due| due.step).collect();
            for (place, step) in steps.iter().enumerate() {
                let mends: fn(&Step, &Step) -> bool = match step {
                    Step::Hit(..) => {
                        |hit, up| matches!((hit, up), (Step::Hit(a, _), Step::Up(b)) if a == b)
                    }
                    Step::TwinUp(_) => {
                        |up, down| matches!((up, down), (Step::TwinUp(a), Step::TwinDown(b, _)) if a == b)
                    }
                    Step::PowerCut | Step::StopAll => |_, up| *up == Step::AllUp,
                    Step::Reboot(_) => {
                        |hit, up| matches!((hit, up), (Step::Reboot(a), Step::Up(Victim::Agent(b))) if a == b)
                    }
                    Step::Up(_)
                    | Step::Weather(..)
                    | Step::TwinDown(..)
                    | Step::Expire(_)
                    | Step::AllUp => continue,
                };
                assert!(
                    steps[place..].iter().any(|later| mends(step, later)),
                    "{step:?} in {round}"
                );
            }
        }
    }
}
