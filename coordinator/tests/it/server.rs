//! The coordinator's server side, over real TLS and a real Postgres, with a fake agent that speaks the
//! agents' protocol and measures nothing.

mod fake_agent;
mod world;

mod access;
mod dashboard;
mod downloads;
mod import;
mod ingest;
mod leases;
mod machines;
mod models;
mod monitor;
mod prune;
mod roles;
mod runs;
mod schedules;
mod schema;
mod sql;
mod upgrades;
