//! Reports over a fleet written by hand, over a seeded fleet in a real Postgres, and the statistics'
//! promises by simulation.

mod fleet;
mod postgres;

mod agreement;
mod beyond;
mod comparing;
mod conditions;
mod cookbook;
mod dashboard;
mod database;
mod derived;
mod escaping;
mod models;
mod pictures;
mod references;
mod runs;
mod simulation;
mod snapshots;
mod suites;
mod summaries;
mod tables;
mod texts;
mod which;
