//! The smallest program: sends one SMS, and says what became of it.

use std::time::Duration;

use postwire::v1::dispatch_service_client::DispatchServiceClient;
use postwire::v1::{DispatchRequest, OutboundMessage, Sms, outbound_message::Content};
use tonic::{Request, transport::Channel};
use tonic_types::StatusExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::var("POSTWIRE_TARGET").unwrap_or("127.0.0.1:50051".into());
    let limit = Duration::from_secs(5);
    let channel = Channel::from_shared(format!("http://{target}"))?.connect_timeout(limit).connect_lazy();

    let sms = Sms { to: "+15005550006".into(), body: "Your code is 493 027.".into(), ..Default::default() };
    let message = OutboundMessage { content: Some(Content::Sms(sms)), ..Default::default() };
    let mut request = Request::new(DispatchRequest { message: Some(message), ..Default::default() });
    request.set_timeout(limit);

    match DispatchServiceClient::new(channel).dispatch(request).await {
        Ok(response) => {
            let message = response.into_inner().message.unwrap_or_default();
            println!("{} {:?}", message.provider_name, message.state());
        }
        Err(status) => {
            let details = status.get_error_details();
            let reason = details.error_info().map_or("", |info| &info.reason);
            eprintln!("{:?}: {} {reason}", status.code(), status.message());
            for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
                eprintln!("{}: {}", violation.field, violation.description);
            }
            std::process::exit(1);
        }
    }
    Ok(())
}
