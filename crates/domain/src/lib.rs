//! The nouns of mlx-fleet: pure, synchronous, without I/O; time comes in as an argument.
//!
//! Where a plan goes: its text is parsed and checked by [`plan`], expanded over the [`machine`]s by
//! [`expand`] into jobs of one [`suite`] with one [`model`] each, whose cases a worker measures in
//! launches ([`worker`]), each iteration giving samples of a [`metric`] with the doubts of [`reason`].

pub mod ids;
pub mod metric;
pub mod reason;
pub mod text;

pub mod catalogue;
pub mod hub;
pub mod model;
pub mod suite;

pub mod plan;

pub mod machine;

pub mod expand;

pub mod job;
pub mod lease;
pub mod record;
pub mod worker;

pub mod chip;
pub mod llama_cpp;
pub mod work;

pub mod gate;

pub mod import;
