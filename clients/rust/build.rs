//! Makes the stubs. protox reads the `.proto` files itself, so no `protoc` is needed.

use std::error::Error;

const PROTOS: &str = "../../protos";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTOS}");
    let files = protox::compile(["postwire/v1/dispatch_service.proto"], [PROTOS])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
