//! The engine against mlx-lm and against files that are not what they should be; the worker as a
//! process; the plans that ship.

mod checkpoints;

mod batch;
mod check;
mod device;
mod loading;
mod packing;
mod parity;
mod plans;
mod speculative;
mod training;
mod worker;
