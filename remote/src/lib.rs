//! Engines that are not linked into the harness: programs that speak by pipes, and servers.

mod openai;
pub mod process;
pub mod stdio;

pub use openai::OpenAi;
pub use stdio::Stdio;
