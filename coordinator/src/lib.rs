//! The coordinator: hands out work, keeps results.
//!
//! Where a request goes: [`server`] puts it together and listens; `rpc` knows the wire and nothing of
//! SQL, checks who asks, and turns messages into domain types; `dispatch` decides; `store` is one
//! function per statement and knows nothing of the wire. No state is kept outside Postgres, so that
//! several coordinators can serve one database. `dashboard` is beside `rpc`: the same decisions as pages. The
//! operator's commands are in [`cli`], a client of the same RPCs as everybody's; only `model` works on a
//! folder, which it fills from `huggingface`.

pub mod cli;
pub mod server;

mod csv_cell;
mod huggingface;
mod install_line;
mod label_change;

mod rpc;

mod dashboard;

mod dispatch;

mod store;
