//! What the example needs to call Postwire.

mod call;
mod refusal;

pub use call::{Stub, call, within};
pub use refusal::Refusal;

/// The contract: made from `protos/` by `build.rs`.
#[allow(clippy::large_enum_variant)] // generated
pub mod v1 {
    tonic::include_proto!("postwire.v1");
}
