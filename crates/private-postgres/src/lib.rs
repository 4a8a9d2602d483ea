//! A Postgres server of our own in a data folder, so that nobody has to set one up.
//!
//! The server survives us on purpose: when its owner is killed, the next owner attaches to it.
//! Everything here is synchronous; an async caller uses `spawn_blocking`.
//!
//! ```text
//!   DIR/postgres.lock      held by the one owner of DIR
//!   DIR/postgres/          ours (or a link to a place that the account `postgres` can enter)
//!       password  port     mode 0600
//!       log                the server's standard error
//!       cluster/           PGDATA, owned by the account that the server runs as
//! ```
//!
//! [`Server::start`] takes the lock, finds an installation ([`install`]), settles the folders
//! ([`folder`]), makes the cluster once ([`cluster`]), then attaches to or spawns the server
//! ([`process`]).

mod server;

mod cluster;
mod folder;
mod install;
mod process;

mod account;
mod error;
mod sys;

pub use error::{Error, Result};
pub use install::Installation;
pub use server::{Options, Origin, Server};
