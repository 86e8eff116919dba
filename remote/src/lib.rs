//! Engines that are not linked into the harness: programs that speak by pipes, and servers.
//!
//! Either is one more [`Engine`](engine::Engine), so a suite cannot tell where it runs:
//!
//! ```
//! use engine::Engine;
//! use harness_remote::{OpenAi, Stdio};
//!
//! let engines: [&dyn Engine; 2] = [&Stdio, &OpenAi];
//! assert_eq!(engines.map(|engine| engine.describe().id), ["stdio", "openai"]);
//! ```

mod openai;
pub mod process;
mod stdio;

pub use openai::OpenAi;
pub use stdio::{Stdio, share_process_group};
