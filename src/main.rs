//! The `scihcgrl` command: starts tracing, parses the arguments and dispatches. Knows no detail of what it starts.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .init();
    scihcgrl::cli::Cli::parse().run()
}
