//! Sends one SMS over TLS, with a token that says who calls.

use std::{env, fs, time::Duration};

use postwire::v1::dispatch_service_client::DispatchServiceClient;
use postwire::v1::{DispatchRequest, OutboundMessage, Sms, outbound_message::Content};
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = env::var("POSTWIRE_TARGET").unwrap_or("127.0.0.1:50051".into());
    let limit = Duration::from_secs(5);
    let authority = Certificate::from_pem(fs::read(env::var("POSTWIRE_CA_FILE")?)?);
    let channel = Channel::from_shared(format!("https://{target}"))?
        .tls_config(ClientTlsConfig::new().ca_certificate(authority))?
        .connect_timeout(limit)
        .connect_lazy();

    let sms = Sms { to: "+15005550006".into(), body: "Your code is 493 027.".into(), ..Default::default() };
    let message = OutboundMessage { content: Some(Content::Sms(sms)), ..Default::default() };
    let mut request = Request::new(DispatchRequest { message: Some(message), ..Default::default() });
    request.set_timeout(limit);
    // Read at every call, so that a new token takes effect at once.
    let token = fs::read_to_string(env::var("POSTWIRE_TOKEN_FILE")?)?;
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.trim()).parse()?);

    match DispatchServiceClient::new(channel).dispatch(request).await {
        Ok(response) => {
            let message = response.into_inner().message.unwrap_or_default();
            println!("{} {:?}", message.provider_name, message.state());
        }
        Err(status) => {
            eprintln!("{:?}: {}", status.code(), status.message());
            std::process::exit(1);
        }
    }
    Ok(())
}
