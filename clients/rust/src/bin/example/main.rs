//! Does what a caller of Postwire does, step by step, and prints a line for each; with --json, for programs.

mod steps;

use postwire::{Refusal, Stub};
use steps::Step;
use tonic::{Status, transport::Channel};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let target = std::env::var("POSTWIRE_TARGET").unwrap_or("127.0.0.1:50051".into());
    if let Err(status) = run(&target).await {
        eprintln!("{target}: {} {}", Refusal::from(&status).code, status.message());
        std::process::exit(1);
    }
}

async fn run(target: &str) -> Result<(), Status> {
    let json = std::env::args().any(|argument| argument == "--json");
    let show = |step: Step| println!("{}", if json { step.json.to_string() } else { step.text });
    let channel = Channel::from_shared(format!("http://{target}"));
    let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?.connect_lazy();
    steps::run(&Stub::new(channel), show).await
}
