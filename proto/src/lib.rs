//! The wire: protobuf messages and their conversion to domain types, nothing else.
//!
//! Generated code is in `gen` (`cargo xtask codegen` writes it, a test proves it fresh). Everything
//! that comes in becomes a domain type through `TryFrom`, with a refusal that names the field.

#[cfg(feature = "rpc")]
pub mod codec;
pub mod frame;
pub mod refusal;

mod agent;
mod heat;
mod hub;
mod launch;
mod worker;

pub use refusal::Refusal;

/// Version of the agent's protocol; a coordinator refuses another one in `Hello`.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest message that either side reads.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The messages as protobuf has them.
pub mod wire {
    #![expect(
        clippy::pedantic,
        clippy::large_enum_variant,
        reason = "generated code"
    )]
    #![cfg_attr(
        feature = "rpc",
        expect(clippy::allow_attributes, reason = "generated code")
    )]
    include!("gen/mlxfleet.v1.rs");
}
