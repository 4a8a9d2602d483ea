//! What addresses owe: each may do a thing a few times at once, and then as often as time forgives it. Takes
//! bounded memory, however many addresses come.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses that are remembered; beyond them, the one that owes least is forgotten.
const MAX_ADDRESSES: usize = 4096;

/// How often an address may do it.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Times at once, before it has to wait.
    pub to_spare: u32,
    /// Times beyond them that are counted; what comes later costs no more.
    pub max_debt: u32,
    /// The time that forgives one.
    pub comes_back: Duration,
}

pub struct Ledger {
    pace: Pace,
    /// When each address will owe nothing.
    settled_at: HashMap<IpAddr, Instant>,
}

impl Ledger {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            settled_at: HashMap::new(),
        }
    }

    /// How long this address must wait; None when it need not.
    pub fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let owed = self.settled_at.get(&from)?.saturating_duration_since(now);
        owed.checked_sub(self.pace.comes_back * self.pace.to_spare)
            .filter(|wait| !wait.is_zero())
    }

    /// Once more; says how many times this address owes.
    pub fn spend(&mut self, from: IpAddr, now: Instant) -> u32 {
        if self.settled_at.len() >= MAX_ADDRESSES && !self.settled_at.contains_key(&from) {
            self.forget_one(now);
        }
        let Pace {
            to_spare,
            max_debt,
            comes_back,
        } = self.pace;
        let settled_at = self.settled_at.entry(from).or_insert(now);
        let most = now + comes_back * (to_spare + max_debt);
        *settled_at = ((*settled_at).max(now) + comes_back).min(most);
        (settled_at.duration_since(now).as_millis() / comes_back.as_millis()) as u32
    }

    fn forget_one(&mut self, now: Instant) {
        self.settled_at.retain(|_, settled_at| *settled_at > now);
        if self.settled_at.len() >= MAX_ADDRESSES
            && let Some(least) = self.settled_at.iter().min_by_key(|(_, at)| **at)
        {
            let address = *least.0;
            self.settled_at.remove(&address);
        }
    }
}

/// An address, or the network of one where a single customer has a whole network.
pub fn place(from: Option<IpAddr>) -> IpAddr {
    match from.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        Some(address) => address,
        // No connection of ours is without one.
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        to_spare: 20,
        max_debt: 60,
        comes_back: Duration::from_secs(6),
    };

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_may_do_it_a_few_times_and_then_ever_more_slowly() {
        let (mut ledger, now) = (Ledger::new(PACE), Instant::now());
        for _ in 0..PACE.to_spare {
            assert_eq!(ledger.wait(address(1), now), None);
            ledger.spend(address(1), now);
        }
        ledger.spend(address(1), now);
        assert_eq!(ledger.wait(address(1), now), Some(PACE.comes_back));
        assert_eq!(ledger.wait(address(1), now + PACE.comes_back), None);
        assert_eq!(ledger.wait(address(2), now), None, "others are others");
        for _ in 0..1000 {
            ledger.spend(address(1), now);
        }
        let longest = PACE.comes_back * PACE.max_debt;
        assert_eq!(ledger.wait(address(1), now), Some(longest), "and no longer");
        // In an hour it does it as often as comes back in an hour.
        let times = (0..3600u64).filter(|second| {
            let now = now + longest + Duration::from_secs(*second);
            let heard = ledger.wait(address(1), now).is_none();
            if heard {
                ledger.spend(address(1), now);
            }
            heard
        });
        assert_eq!(times.count() as u64, 3600 / PACE.comes_back.as_secs());
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory_and_frees_nobody_who_owes_more() {
        let (mut ledger, now) = (Ledger::new(PACE), Instant::now());
        for _ in 0..=PACE.to_spare {
            ledger.spend(address(0), now);
        }
        for number in 1..10_000 {
            ledger.spend(address(number), now);
        }
        assert_eq!(ledger.settled_at.len(), MAX_ADDRESSES);
        assert_eq!(ledger.wait(address(0), now), Some(PACE.comes_back));
        let later = now + PACE.comes_back * (PACE.to_spare + 2);
        ledger.spend(address(1_000_000), later);
        assert_eq!(ledger.settled_at.len(), 1, "who owes nothing is forgotten");
    }

    #[test]
    fn a_network_is_one_address_and_a_mapped_address_is_the_same() {
        let read = |text: &str| place(Some(text.parse().unwrap()));
        assert_eq!(read("2001:db8:1:2:3::1"), read("2001:db8:1:2:ffff::2"));
        assert_ne!(read("2001:db8:1:2::1"), read("2001:db8:1:3::1"));
        assert_eq!(read("::ffff:192.0.2.1"), read("192.0.2.1"));
    }
}
