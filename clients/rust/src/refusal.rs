//! What a refused call says of itself: see `ErrorReason` in `protos/postwire/v1/error_reason.proto`.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::v1::DispatchRejection;

pub struct Refusal {
    /// The name of the gRPC status code, such as `INVALID_ARGUMENT`.
    pub code: String,
    /// Why, such as `INVALID_MESSAGE`; empty where the error is not Postwire's own.
    pub reason: String,
    /// The paths of all bad fields, such as `message.sms.to`.
    pub violations: Vec<String>,
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == "postwire");
        let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        Self {
            code: name(status.code()),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            violations: violations.map(|one| one.field.clone()).collect(),
        }
    }
}

/// One request of a stream is refused by a message, for the call goes on.
impl From<&DispatchRejection> for Refusal {
    fn from(rejection: &DispatchRejection) -> Self {
        Self {
            code: name(Code::from_i32(rejection.code)),
            reason: rejection.reason().as_str_name().replace("ERROR_REASON_", ""),
            violations: rejection.field_violations.iter().map(|one| one.field.clone()).collect(),
        }
    }
}

/// A code's name in the gRPC specification: `INVALID_ARGUMENT` for `InvalidArgument`.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
