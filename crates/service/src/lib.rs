//! What our daemons share, and nothing that only one of them needs.
//!
//! A `main` goes through it in this order: [`crypto::install`], [`telemetry::init`],
//! [`folders::DataFolder`], then [`tls`] and [`token`] for who may talk to whom, and
//! [`lifecycle::Lifecycle`] around everything that runs. Models of Hugging Face's hub are in [`hub`].

pub mod crypto;
pub mod descriptors;
pub mod lifecycle;
pub mod telemetry;

pub mod disk;
pub mod folders;
pub mod hub;

pub mod bearer;
pub mod tls;
pub mod token;

mod sys;
