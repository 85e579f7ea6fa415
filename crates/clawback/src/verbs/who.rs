//! Who does something, and why.

#[derive(Debug, Clone, Default, clap::Args)]
pub struct WhoFlags {
    /// Who does this [default: the user of the operating system]
    #[arg(long = "as", value_name = "NAME")]
    pub as_: Option<String>,
    /// Why; it is kept with what was done
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl WhoFlags {
    pub fn by(&self) -> String {
        match &self.as_ {
            Some(name) => name.clone(),
            None => whoami::username().unwrap_or_else(|_| "unknown".into()),
        }
    }

    pub fn why(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}
