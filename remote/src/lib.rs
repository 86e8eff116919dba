//! Engines that are not linked into the harness: programs that speak by pipes, and servers.

pub mod stdio;

pub use stdio::Stdio;
