//! The fuzz targets, in one place: libFuzzer's programs in `fuzz_targets/` and the short run (`src/bin/short.rs`) call the same functions.
//!
//! | file | what |
//! |---|---|
//! | [`targets`] | one function for each reader of foreign bytes |
//! | [`responder`] | whole SCEP messages, spoilt at each level and signed and enveloped properly after that |
//! | [`tree`] | DER as a tree, and ways to spoil it |
//! | [`memory`] | an allocator that counts |

pub mod memory;
pub mod responder;
pub mod targets;
pub mod tree;

#[allow(dead_code, unused_imports)]
#[path = "../../common/mod.rs"]
mod common;
