//! Core ML packages: what is in them, whether it is sound, and what it computes.
//!
//! [`Package`] reads `.mlpackage` folders and bare `.mlmodel` files that hold an
//! ML Program, [`check()`] looks for what would go wrong on a device, and the
//! engine [`Interpreter`] executes the program on the CPU, operation by operation,
//! so that a conversion is proven right before anyone touches a Mac.

mod backend;
mod check;
mod config;
mod engine;
mod error;
mod interpreted;
mod interpreter;
mod lengths;
mod names;
mod package;
mod pooling;
mod program;
mod runtime;
mod session;
mod shape;
mod signature;
mod spec;
mod summary;
mod tensor;
mod weights;

pub use check::{Finding, Severity, check};
pub use config::Config;
pub use error::PackageError;
pub use interpreted::Interpreter;
pub use package::Package;
pub use program::{Constant, Function, Operand, Operation, Port, Program, TensorType};
pub use runtime::Runtime;
pub use spec::{Feature, FunctionDescription, Shapes, Specification};
pub use summary::{FunctionSummary, Summary, WeightBytes};
pub use tensor::{DataType, Tensor};
pub use weights::{Blob, Weights};
