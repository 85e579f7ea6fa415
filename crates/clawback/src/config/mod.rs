//! Configuration: flags over environment over `clawback.toml` over what is built in.

mod clock;
mod duration;
mod expiry;
mod file;
mod print;
mod reader;
mod retention;
mod secret;
mod settings;
mod setup;

pub use clock::ClockSource;
pub use duration::{parse as parse_duration, show as show_duration};
pub use file::{ConfigError, Env, File, Needs, Partner};
pub use print::print;
pub use reader::{Entry, Problem, Shown, nearest};
pub use secret::Secret;
pub use settings::Settings;
pub use setup::{ServerUrl, Setup, SetupFlags, check_key, token_from_env};
