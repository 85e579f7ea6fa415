use std::process::ExitCode;

/// A purchase is some hundred small values that are made by one thread and dropped by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    clawback::run().await
}
