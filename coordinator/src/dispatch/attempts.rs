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

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::token::Token;

use super::ledger::{Ledger, Pace, place};
use super::tokens::Caller;
use super::{Dispatch, Error, Result};

const PACE: Pace = Pace {
    to_spare: 20,
    max_debt: 60,
    comes_back: Duration::from_secs(6),
};
/// Tokens that were right, by their hashes; a fleet has fewer.
const MAX_KNOWN: usize = 1024;

pub struct Attempts(Mutex<Memory>);

struct Memory {
    guesses: Ledger,
    known: HashSet<[u8; 32]>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self(Mutex::new(Memory {
            guesses: Ledger::new(PACE),
            known: HashSet::new(),
        }))
    }
}

impl Attempts {
    /// Whether a token from this address is looked at now.
    pub fn admit(&self, from: Option<IpAddr>, token: &Token) -> Result<()> {
        let memory = self.memory();
        let Some(wait) = memory.guesses.wait(place(from), Instant::now()) else {
            return Ok(());
        };
        if memory.known.contains(token.secret_hash().as_bytes()) {
            return Ok(());
        }
        Err(Error::TooMuch(format!(
            "too many wrong tokens came from this address: try again in {} s",
            wait.as_secs() + 1
        )))
    }

    /// Learns from what became of it.
    pub fn note<T>(&self, from: Option<IpAddr>, token: &Token, found: &Result<T>) {
        match found {
            Ok(_) => self.memory().trust(token),
            Err(Error::Guessed(_)) => {
                let from = place(from);
                let owes = self.memory().guesses.spend(from, Instant::now());
                tracing::warn!(%from, token = %token.id(), owes, "a token that was never given out");
            }
            Err(_) => {}
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatch {
    /// Whose token this is, unless too many wrong ones came from its address.
    pub async fn caller_from(&self, from: Option<IpAddr>, token: &Token) -> Result<Caller> {
        self.attempts.admit(from, token)?;
        let caller = self.caller(token).await;
        self.attempts.note(from, token, &caller);
        caller
    }

    /// For those who show a token in another way.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }
}

impl Memory {
    fn trust(&mut self, token: &Token) {
        if self.known.len() < MAX_KNOWN {
            self.known.insert(*token.secret_hash().as_bytes());
        }
    }
}
