//! What the example does.

use std::time::{Duration, SystemTime};

use postwire::v1::dispatch_stream_result::Result::{Message as Accepted, Rejection as Refused};
use postwire::v1::outbound_message::Content;
use postwire::v1::*;
use postwire::{Refusal, Stub, call, within};
use serde_json::{Map, Value, json};
use tonic::{Code, Request, Status};
use uuid::Uuid;

const PHONE: &str = "+15005550006"; // at this one a mock provider succeeds
const REJECTED_PHONE: &str = "+15005550001"; // and this one it rejects
const LIMIT: Duration = Duration::from_secs(10); // for a call
const STREAM_LIMIT: Duration = Duration::from_secs(60); // for one with a stream

/// What there is to show of a step: to people, and to programs.
pub struct Step {
    pub text: String,
    pub json: Value,
}

pub async fn run(stub: &Stub, show: impl Fn(Step)) -> Result<(), Status> {
    let first = request(sms(PHONE, "Your code is 493 027."));
    show(send(stub, "dispatch", first.clone()).await?);
    show(send(stub, "dispatch", request(mms())).await?);
    show(send(stub, "dispatch", request(email())).await?);
    show(send(stub, "forced", request(sms(REJECTED_PHONE, "Hello"))).await?);
    show(invalid(stub).await?);
    show(conflict(stub, first.request_id).await?);
    show(not_found(stub).await?);
    show(retry(stub).await?);
    show(within(STREAM_LIMIT, stream(stub)).await?);
    show(within(STREAM_LIMIT, watch(stub)).await?);
    Ok(())
}

async fn dispatch(stub: &Stub, request: DispatchRequest, limit: Duration) -> Result<Message, Status> {
    let method = |mut stub: Stub, request| async move { stub.dispatch(request).await };
    let response = call(stub, limit, request, method).await?;
    Ok(response.message.unwrap_or_default())
}

/// A message that its provider rejects is no error of the call: the state says what happened.
async fn send(stub: &Stub, step: &str, request: DispatchRequest) -> Result<Step, Status> {
    let message = dispatch(stub, request, LIMIT).await?;
    let [channel, state, outcome] = words(&message);
    let Message { request_id, message_id, provider_name, .. } = message;
    let how = match state.as_str() {
        "SENT" => format!("{provider_name:9} {message_id}"),
        _ => format!("{outcome} by {provider_name}"),
    };
    let text = format!("{step:10} {channel:6} {state:9} {how}");
    let json = json!({"step": step, "channel": channel, "request_id": request_id, "message_id": message_id,
        "state": state, "provider_name": provider_name, "outcome": outcome});
    Ok(Step { text, json })
}

/// A bad request is refused, and every bad field is named.
async fn invalid(stub: &Stub) -> Result<Step, Status> {
    let answer = dispatch(stub, request(sms("12", "")), LIMIT).await;
    refused("invalid", answer, Code::InvalidArgument)
}

/// A request id belongs to one message: another body is refused.
async fn conflict(stub: &Stub, request_id: String) -> Result<Step, Status> {
    let request = DispatchRequest { request_id, ..request(sms(PHONE, "Another body")) };
    refused("conflict", dispatch(stub, request, LIMIT).await, Code::AlreadyExists)
}

async fn not_found(stub: &Stub) -> Result<Step, Status> {
    let message_id = "00000000-0000-7000-8000-000000000000".into();
    let request = GetMessageRequest { message_id, ..Default::default() };
    let method = |mut stub: Stub, request| async move { stub.get_message(request).await };
    refused("not_found", call(stub, LIMIT, request, method).await, Code::NotFound)
}

/// When a call runs out of time, nobody knows whether the message was accepted. Repeat it with the same request id.
async fn retry(stub: &Stub) -> Result<Step, Status> {
    let request = request(sms(PHONE, "Only once"));
    let mut limit = Duration::from_millis(1);
    let mut tries = 1;
    let Message { message_id, .. } = loop {
        match dispatch(stub, request.clone(), limit).await {
            Err(status) if status.code() == Code::DeadlineExceeded && tries < 5 => tries += 1,
            answer => break answer?,
        }
        limit = LIMIT;
    };
    let Message { request_id, message_id: again, .. } = dispatch(stub, request, LIMIT).await?;
    let text = format!("retry      {message_id}  after {tries} tries");
    let json = json!({"step": "retry", "request_id": request_id, "message_id": message_id,
        "repeated_message_id": again, "tries": tries});
    Ok(Step { text, json })
}

/// A thousand messages over one call, in frames of a hundred. One is bad, which the others do not notice.
async fn stream(stub: &Stub) -> Result<Step, Status> {
    let phone = |number| if number == 500 { "12" } else { PHONE };
    let frame = |start| DispatchStreamRequest {
        requests: (start..start + 100).map(|n| request(sms(phone(n), &format!("Message {n}")))).collect(),
    };
    let frames: Vec<_> = (0..1_000).step_by(100).map(frame).collect();
    // tonic takes a frame when the server has room for it, while we read what comes back.
    let method =
        |mut stub: Stub, frames: Request<_>| async move { stub.dispatch_stream(frames.map(tokio_stream::iter)).await };
    let mut responses = call(stub, STREAM_LIMIT, frames, method).await?;

    let mut messages = Map::new();
    let mut rejections = Vec::new();
    let mut refusals = Vec::new();
    while let Some(DispatchStreamResponse { results }) = responses.message().await? {
        for DispatchStreamResult { sequence, result } in results {
            match result {
                Some(Accepted(message)) if message.state() == MessageState::Sent => {
                    messages.insert(message.request_id, message.message_id.into());
                }
                Some(Refused(rejection)) => {
                    let Refusal { code, reason, violations } = (&rejection).into();
                    refusals.push(format!("{sequence} {code} {reason} {}", violations.join(" ")));
                    rejections.push(json!({"sequence": sequence, "code": code, "reason": reason,
                        "violations": violations}));
                }
                _ => {}
            }
        }
    }
    let text = format!("stream     {} SENT, {} refused: {}", messages.len(), refusals.len(), refusals.join("; "));
    Ok(Step { text, json: json!({"step": "stream", "messages": messages, "rejections": rejections}) })
}

/// A message that waits for its time, watched until it is sent.
async fn watch(stub: &Stub) -> Result<Step, Status> {
    let options = DispatchOptions {
        wait_for: WaitFor::Acceptance.into(),
        send_time: Some((SystemTime::now() + Duration::from_secs(1)).into()),
        ..Default::default()
    };
    let request = DispatchRequest { options: Some(options), ..request(sms(PHONE, "The train leaves.")) };
    let Message { message_id, request_id, .. } = dispatch(stub, request, LIMIT).await?;

    let request = WatchMessagesRequest { message_ids: vec![message_id.clone()], ..Default::default() };
    let method = |mut stub: Stub, request| async move { stub.watch_messages(request).await };
    let mut responses = call(stub, STREAM_LIMIT, request, method).await?;
    let (mut states, mut revisions) = (Vec::new(), Vec::new());
    while let Some(response) = responses.message().await? {
        let Some(message) = response.message else { continue }; // a sign of life
        let [_, state, _] = words(&message);
        states.push(state);
        revisions.push(message.revision);
        if message.state() == MessageState::Sent {
            break;
        }
    }
    drop(responses); // which cancels the call
    let text = format!("watch      {}", states.join(" → "));
    let json = json!({"step": "watch", "message_id": message_id, "request_id": request_id,
        "states": states, "revisions": revisions});
    Ok(Step { text, json })
}

/// What a call that is refused has to say. That it goes well, or fails with another code, is an error.
fn refused<T>(step: &str, answer: Result<T, Status>, expected: Code) -> Result<Step, Status> {
    let status = answer.err().unwrap_or_else(|| Status::unknown(format!("{step} was not refused")));
    if status.code() != expected {
        return Err(status);
    }
    let Refusal { code, reason, violations } = (&status).into();
    let text = format!("{step:10} {code}  {reason}  {}", violations.join(", "));
    let mut json = json!({"step": step, "code": code, "reason": reason});
    if !violations.is_empty() {
        json["violations"] = violations.into();
    }
    Ok(Step { text: text.trim_end().into(), json })
}

fn request(content: Content) -> DispatchRequest {
    let message = OutboundMessage { content: Some(content), ..Default::default() };
    DispatchRequest { request_id: Uuid::new_v4().into(), message: Some(message), options: None }
}

fn sms(to: &str, body: &str) -> Content {
    Content::Sms(Sms { to: to.into(), body: body.into(), ..Default::default() })
}

fn mms() -> Content {
    let source = Some(media::Source::Url("https://example.com/table.jpg".into()));
    let media = vec![Media { source, ..Default::default() }];
    Content::Mms(Mms { to: PHONE.into(), body: "Your table".into(), media, ..Default::default() })
}

fn email() -> Content {
    let to = vec!["success@simulator.postwire.test".into()];
    Content::Email(Email { to, subject: "Your receipt".into(), text: "Thank you.".into(), ..Default::default() })
}

/// The names of a message's channel, state and outcome, without their prefixes.
fn words(message: &Message) -> [String; 3] {
    [
        message.channel().as_str_name().replace("CHANNEL_", "").to_lowercase(),
        message.state().as_str_name().replace("MESSAGE_STATE_", ""),
        message.outcome().as_str_name().replace("OUTCOME_", ""),
    ]
}
