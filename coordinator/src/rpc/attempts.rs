//! Guesses at tokens, counted by where they come from, so that nobody tries them by the thousand.
//!
//! ```text
//!   20 to spare ── a wrong token costs one ──▶ none ── each goes into debt ──▶ 60 in debt, at most
//!        ◀────────────────── one comes back every 6 s ──────────────────────────────┘
//!   asked as usual                             refused unheard, and told for how long
//! ```
//!
//! A token that was given out once and has ended is no guess. Who shares an address with somebody that
//! guesses is heard all the same with a token that was right before, and machines with certificates are
//! not asked here at all: guessing locks nobody out who is in.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::token::Token;
use tonic::Status;

use crate::dispatch::{Error, Result};

const TO_SPARE: u32 = 20;
const MAX_DEBT: u32 = 60;
const COMES_BACK: Duration = Duration::from_secs(6);
/// Addresses that are remembered; beyond them, the one that owes least is forgotten.
const MAX_ADDRESSES: usize = 4096;
/// Tokens that were right, by their hashes; a fleet has fewer.
const MAX_KNOWN: usize = 1024;

#[derive(Default)]
pub struct Attempts(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    /// When each address will owe nothing.
    settled_at: HashMap<IpAddr, Instant>,
    known: HashSet<[u8; 32]>,
}

impl Attempts {
    /// Whether a token from this address is looked at now.
    pub fn admit(&self, from: Option<IpAddr>, token: &Token) -> std::result::Result<(), Status> {
        let ledger = self.ledger();
        let Some(wait) = ledger.wait(place(from), Instant::now()) else {
            return Ok(());
        };
        if ledger.known.contains(token.secret_hash().as_bytes()) {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "too many wrong tokens came from this address: try again in {} s",
            wait.as_secs() + 1
        )))
    }

    /// Learns from what became of it.
    pub fn note<T>(&self, from: Option<IpAddr>, token: &Token, found: &Result<T>) {
        match found {
            Ok(_) => self.ledger().trust(token),
            Err(Error::Guessed(_)) => {
                let from = place(from);
                let owes = self.ledger().guessed(from, Instant::now());
                tracing::warn!(%from, token = %token.id(), owes, "a token that was never given out");
            }
            Err(_) => {}
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// How long this address must wait; None when it need not.
    fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let owed = self.settled_at.get(&from)?.saturating_duration_since(now);
        owed.checked_sub(COMES_BACK * TO_SPARE)
            .filter(|wait| !wait.is_zero())
    }

    /// One guess more; says how many this address owes.
    fn guessed(&mut self, from: IpAddr, now: Instant) -> u32 {
        if self.settled_at.len() >= MAX_ADDRESSES && !self.settled_at.contains_key(&from) {
            self.forget_one(now);
        }
        let settled_at = self.settled_at.entry(from).or_insert(now);
        let most = now + COMES_BACK * (TO_SPARE + MAX_DEBT);
        *settled_at = ((*settled_at).max(now) + COMES_BACK).min(most);
        (settled_at.duration_since(now).as_secs() / COMES_BACK.as_secs()) as u32
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

    fn trust(&mut self, token: &Token) {
        if self.known.len() < MAX_KNOWN {
            self.known.insert(*token.secret_hash().as_bytes());
        }
    }
}

/// An address, or the network of one where a single customer has a whole network.
fn place(from: Option<IpAddr>) -> IpAddr {
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

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_may_guess_a_few_times_and_then_ever_more_slowly() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for _ in 0..TO_SPARE {
            assert_eq!(ledger.wait(address(1), now), None);
            ledger.guessed(address(1), now);
        }
        ledger.guessed(address(1), now);
        assert_eq!(ledger.wait(address(1), now), Some(COMES_BACK));
        assert_eq!(ledger.wait(address(1), now + COMES_BACK), None);
        assert_eq!(ledger.wait(address(2), now), None, "others are others");
        for _ in 0..1000 {
            ledger.guessed(address(1), now);
        }
        let longest = COMES_BACK * MAX_DEBT;
        assert_eq!(ledger.wait(address(1), now), Some(longest), "and no longer");
        // In an hour it makes as many guesses as come back in an hour.
        let guesses = (0..3600u64).filter(|second| {
            let now = now + longest + Duration::from_secs(*second);
            let heard = ledger.wait(address(1), now).is_none();
            if heard {
                ledger.guessed(address(1), now);
            }
            heard
        });
        assert_eq!(guesses.count() as u64, 3600 / COMES_BACK.as_secs());
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory_and_frees_nobody_who_owes_more() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for _ in 0..=TO_SPARE {
            ledger.guessed(address(0), now);
        }
        for number in 1..10_000 {
            ledger.guessed(address(number), now);
        }
        assert_eq!(ledger.settled_at.len(), MAX_ADDRESSES);
        assert_eq!(ledger.wait(address(0), now), Some(COMES_BACK));
        let later = now + COMES_BACK * (TO_SPARE + 2);
        ledger.guessed(address(1_000_000), later);
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
