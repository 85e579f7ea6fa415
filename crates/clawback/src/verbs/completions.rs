//! `clawback completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{context::Context, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback completions bash > /etc/bash_completion.d/clawback")]
pub struct CompletionsFlags {
    shell: Shell,
}

/// # Errors
/// stdout is closed.
pub fn run<C: CommandFactory>(context: &Context, flags: CompletionsFlags) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut C::command(), "clawback", &mut script);
    let script = String::from_utf8_lossy(&script);
    context.out.result(&serde_json::json!({ "script": script }), || script.to_string())
}
