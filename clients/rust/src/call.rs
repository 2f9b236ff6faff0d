//! What every call needs: a deadline, and retries.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::v1::dispatch_service_client::DispatchServiceClient;

/// Its clones share a connection.
pub type Stub = DispatchServiceClient<Channel>;

const MAX_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Calls again, after a pause, where that may help: tonic has no retries of its own. With a request id of the caller's
/// that is safe: it is one message, however often we ask. The server says how long to wait, in a `RetryInfo`.
pub async fn call<Message: Clone, Answer, Call: Future<Output = Result<Response<Answer>, Status>>>(
    stub: &Stub,
    limit: Duration,
    message: Message,
    method: impl Fn(Stub, Request<Message>) -> Call,
) -> Result<Answer, Status> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = Request::new(message.clone());
        request.set_timeout(left); // tells the server
        let status = match within(left, method(stub.clone(), request)).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        let may_help = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        if !may_help || attempt == MAX_ATTEMPTS {
            return Err(status);
        }
        let asked_for = status.get_details_retry_info().and_then(|info| info.retry_delay);
        sleep(asked_for.unwrap_or(pause.mul_f64(0.8 + 0.4 * fastrand::f64()))).await;
        pause = LONGEST_PAUSE.min(pause * 3);
        attempt += 1;
    }
}

/// Gives up on what takes longer than `limit`.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match timeout(limit, work).await {
        // tonic has a timer too, for the beginning of an answer, and says this when time is up.
        Ok(Err(status)) if status.code() == Code::Cancelled => Err(Status::deadline_exceeded(status.message())),
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
