//! Tests of the coordinator from outside.

mod server;

mod e2e;
mod fleet;
mod import;
mod install;
mod life;
mod models;
mod secrets;
mod simulate;
mod up;
