//! The daemon on each machine: takes leases, runs workers, keeps what they measure until the
//! coordinator has it.
//!
//! Where a sample goes: a [`job`] starts a worker for each launch in its seeded [`order`]; the
//! [`supervisor`] reads its frames; each iteration becomes a record, which the [`recorder`] numbers
//! into batches, on disk ([`spool`]) before [`upload`] puts them on the wire. A job's model that is not here is
//! got from the coordinator first ([`models`]).
//!
//! Where a lease goes: the [`link`] brings a grant, [`session`] decides what it means, [`driver`]
//! does it. The sensors beside a job are in [`sensors`], what they say of a launch in [`preflight`];
//! how heat is waited for, seen and told: [`cooldown`], [`canary`], [`throttle`]. Why a machine or a worker
//! went down is looked up in [`incident`]; what will spoil measurements here, before any is made, in
//! [`doctor`]. Many machines that measure nothing, to try a coordinator: [`simulate`].

pub mod session;

pub mod driver;
pub mod enrol;
pub mod link;
mod pauses;
pub mod upload;

pub mod canary;
pub mod cooldown;
pub mod incident;
pub mod job;
pub mod models;
pub mod order;
pub mod precision;
pub mod preflight;
pub mod supervisor;
pub mod throttle;

pub mod recorder;
pub mod spool;

pub mod simulate;

pub mod doctor;

pub mod awake;
pub mod host_lock;
pub mod inventory;
pub mod sensors;

#[cfg(any(target_os = "macos", test))]
mod macos;
pub mod software;
mod sys;
pub mod task;

/// The version in inventories and environments.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this was built from: `build/commit.rs`.
pub const COMMIT: &str = env!("MLX_FLEET_COMMIT");
