//! What machine this is, and in what state.
//!
//! A timing means little without the machine that it was taken on. This crate answers
//! these questions, each with one call:
//!
//! - [`Machine::detect`]: which machine is it? Two runs are comparable when their
//!   [`Machine::fingerprint`]s agree.
//! - [`State::sample`]: what is it doing now: power, heat, load, memory? Taken at the start
//!   and the end of a run; [`State::warnings`] says why timings may be suspect.
//! - [`page_cache::evict`]: what does it take to read a file from disk again?
//! - [`ProcessMemory::sample`]: how much memory does this process hold? [`charged_bytes`] asks
//!   it of another one, [`MemoryBreakdown::sample`]: of what kinds? [`PageFaults::sample`]: how often did it wait
//!   for a page?
//! - [`Residency::of`]: how much of these bytes is in physical memory?
//! - [`OtherLoad::busy_cores`]: how busy do other programs keep the machine?
//!
//! Whatever cannot be read is `None`, or an [`Unavailable`] that says why; no value is ever
//! guessed. Field names are part of the
//! run record, carry their unit, and stay as they are. Nothing here names the machine's
//! owner: host name, serial numbers and addresses are never read.
//!
//! Linux and macOS are supported, each by a private module of the same functions.
//!
//! ```
//! use harness_machine::{Machine, State};
//!
//! let machine = Machine::detect();
//! let before = State::sample();
//! for warning in before.warnings(&machine) {
//!     eprintln!("{warning}");
//! }
//! // … what is timed …
//! let after = State::sample();
//! if after.throttle_events > before.throttle_events {
//!     eprintln!("Heat has slowed the cores.");
//! }
//! assert_eq!(machine.fingerprint().len(), 16);
//! ```

mod identity;
mod load;
mod memory;
pub mod page_cache;
mod residency;
mod state;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "linux_memory.rs"]
mod platform_memory;
#[cfg(target_os = "macos")]
#[path = "macos_memory.rs"]
mod platform_memory;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("harness-machine supports Linux and macOS");

pub use identity::Machine;
pub use load::OtherLoad;
pub use memory::{
    MemoryBreakdown, PageFaults, ProcessMemory, Unavailable, charged_bytes, reset_peak_rss,
    trim_heap,
};
pub use residency::{Residency, mapped_files, page_granule_bytes, page_out, swap_bytes};
pub use state::{PowerSource, State, ThermalPressure};
