use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    clawback::run().await
}
