//! Core ML packages: what is in them, whether it is sound, and what it computes.
