//! Who waits in this process, and for what. Postgres' notifications arrive here from every coordinator
//! of the database; nothing here is state that matters: whoever is woken reads the tables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::{MachineId, RunId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::wake::Wake;

/// A watcher that is further behind reads the whole state anew, which is what it does anyway.
const RUN_WAKES: usize = 256;

pub struct Hub {
    seats: Mutex<HashMap<MachineId, Seat>>,
    runs: broadcast::Sender<Changed>,
}

/// What a watcher of runs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Run(RunId),
    Everything,
}

#[derive(Clone)]
struct Seat {
    session: Uuid,
    wake: Arc<Notify>,
    upgrade: Arc<Notify>,
    replaced: CancellationToken,
}

/// A session's place; leaving it frees the machine's seat.
pub struct Seated {
    hub: Arc<Hub>,
    machine_id: MachineId,
    seat: Seat,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            runs: broadcast::Sender::new(RUN_WAKES),
        }
    }
}

impl Hub {
    /// Seats a new session of a machine; an older one here is told that it was replaced.
    pub fn sit(self: &Arc<Self>, machine_id: MachineId, session: Uuid) -> Seated {
        let seat = Seat {
            session,
            wake: Arc::new(Notify::new()),
            upgrade: Arc::new(Notify::new()),
            replaced: CancellationToken::new(),
        };
        let former = self.seats().insert(machine_id, seat.clone());
        if let Some(former) = former {
            former.replaced.cancel();
        }
        Seated {
            hub: Arc::clone(self),
            machine_id,
            seat,
        }
    }

    /// How many machines have a session here.
    pub fn seated(&self) -> usize {
        self.seats().len()
    }

    pub fn runs(&self) -> broadcast::Receiver<Changed> {
        self.runs.subscribe()
    }

    pub fn tell(&self, wake: Wake) {
        match wake {
            Wake::Machine(machine_id) => {
                if let Some(seat) = self.seats().get(&machine_id) {
                    seat.wake.notify_one();
                }
            }
            Wake::Session {
                machine_id,
                session,
            } => {
                // Ids of sessions are ordered by time: the word of an older one may come late.
                if let Some(seat) = self.seats().get(&machine_id)
                    && seat.session < session
                {
                    seat.replaced.cancel();
                }
            }
            Wake::Upgrade(machine_id) => {
                if let Some(seat) = self.seats().get(&machine_id) {
                    seat.upgrade.notify_one();
                }
            }
            Wake::Run(run_id) => self.tell_watchers(Changed::Run(run_id)),
            Wake::Everything => {
                self.seats()
                    .values()
                    .for_each(|seat| seat.wake.notify_one());
                self.tell_watchers(Changed::Everything);
            }
        }
    }

    fn tell_watchers(&self, changed: Changed) {
        // An error means that nobody watches.
        drop(self.runs.send(changed));
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<MachineId, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a change that somebody watches for; what was missed may have been one.
pub async fn heard(changes: &mut broadcast::Receiver<Changed>, wanted: impl Fn(Changed) -> bool) {
    loop {
        match changes.recv().await {
            Ok(changed) if !wanted(changed) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The process ends; who waits is told by other means.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Seated {
    /// Something about the machine's queue or lease has changed.
    pub async fn woken(&self) {
        self.seat.wake.notified().await;
    }

    /// An operator wants another release of its agent.
    pub async fn to_upgrade(&self) {
        self.seat.upgrade.notified().await;
    }

    /// Another session of this machine has taken over.
    pub async fn replaced(&self) {
        self.seat.replaced.cancelled().await;
    }

    pub fn is_replaced(&self) -> bool {
        self.seat.replaced.is_cancelled()
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut seats = self.hub.seats();
        if seats
            .get(&self.machine_id)
            .is_some_and(|seat| seat.session == self.seat.session)
        {
            seats.remove(&self.machine_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newer_session_of_a_machine_wins_wherever_it_is() {
        let hub = Arc::new(Hub::default());
        let machine_id = MachineId::new();
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        let older = hub.sit(machine_id, first);
        let newer = hub.sit(machine_id, second);
        older.replaced().await;
        drop(older);
        // The late word of the older one, from another coordinator, changes nothing.
        hub.tell(Wake::Session {
            machine_id,
            session: first,
        });
        assert!(!newer.seat.replaced.is_cancelled());
        hub.tell(Wake::Session {
            machine_id,
            session: Uuid::now_v7(),
        });
        newer.replaced().await;
    }

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let hub = Arc::new(Hub::default());
        let machine_id = MachineId::new();
        let seated = hub.sit(machine_id, Uuid::now_v7());
        hub.tell(Wake::Machine(machine_id));
        seated.woken().await;
        hub.tell(Wake::Everything);
        seated.woken().await;
    }
}
