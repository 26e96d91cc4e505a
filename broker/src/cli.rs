//! The command line of `monedula`.

use std::path::PathBuf;

use broker::shell::{CoreList, Options, STALL_MS, TAIL_MEMORY_PERCENT};
use clap::{Args, Parser, Subcommand, ValueEnum};
use storage::disk::SyncMethod;

/// A Kafka-protocol broker with a log for every core.
#[derive(Debug, Parser)]
#[command(name = "monedula", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do; `start` with its defaults if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `monedula` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broker in the foreground; SIGTERM or Ctrl-C stops it in order, a second one at once.
    Start(StartArgs),
    /// Watch a running broker: rates, queues, and where the time of requests goes, each second.
    Top(TopArgs),
    /// List the slowest requests of the last seconds, with what they waited for and what the shard did meanwhile.
    Slow(SlowArgs),
    /// Have a running broker keep account of where the time of requests goes, or not.
    Ledger(LedgerArgs),
    /// Measure the ways to make a write durable in a data directory, and advise.
    Probe(ProbeArgs),
}

/// The arguments of `monedula start`.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// Data directory, created if it does not exist [default: log.dirs of the config file, or data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address that all shards listen on; port 0 takes a free one [default: listeners of the config file, or
    /// 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    pub listen: Option<String>,
    /// Address of the first core-direct listener, the other shards follow at the next ports; `none` for none
    /// [default: core.listeners of the config file, or 127.0.0.1:9192].
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_core_address)]
    pub core_listen: Option<String>,
    /// Host that clients are told to connect to [default: advertised.listeners of the config file, or the host that
    /// is listened on].
    #[arg(long, value_name = "HOST")]
    pub advertised: Option<String>,
    /// Cores to run shards on, like `0-3,6`; by default all that this process may use.
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,
    /// A file of Kafka's form `key=value`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run on a file system without O_DIRECT (tmpfs, say). For trying out: the page cache is in the way.
    #[arg(long)]
    pub allow_buffered_io: bool,
    /// Look at the machine and the configuration, say what is wrong, and do not start. Exit code 1 if a start would be
    /// refused.
    #[arg(long)]
    pub check: bool,
    /// How a write is made durable. `monedula probe` measures which suits the disk.
    #[arg(long, value_enum, default_value_t = SyncArg::Fdatasync)]
    pub sync_method: SyncArg,
    /// Share of the memory that the ends of logs may take, for readers that are not far behind, percent. It is taken as
    /// records come in, and kept.
    #[arg(long, value_name = "PERCENT", default_value_t = TAIL_MEMORY_PERCENT,
        value_parser = clap::value_parser!(u64).range(1..=70))]
    pub tail_memory_percent: u64,
    /// Keep no account of where the time of requests goes until `monedula ledger on`. `monedula top` and `slow` then have
    /// little to show.
    #[arg(long)]
    pub no_ledger: bool,
    /// How long a shard may be at one turn before that is reported as a stall, milliseconds.
    #[arg(long, value_name = "MS", default_value_t = STALL_MS, value_parser = clap::value_parser!(u64).range(10..))]
    pub stall_ms: u64,
    /// What to log, as in `info` or `warn,broker=debug`. Logs go to stderr.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// The arguments of `monedula probe`.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// Directory on the disk to probe; created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// How long to measure each method, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub seconds: u64,
}

/// The arguments of `monedula top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Data directory of the broker, on this machine.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Print one frame as plain text and end.
    #[arg(long)]
    pub once: bool,
    /// `json` prints one document, with all histograms, and ends.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The arguments of `monedula slow`.
#[derive(Args, Debug)]
pub struct SlowArgs {
    /// Data directory of the broker, on this machine.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// How many seconds to look back, at most 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// As lines to read, or as one JSON document.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The arguments of `monedula ledger`.
#[derive(Args, Debug)]
pub struct LedgerArgs {
    /// Whether to keep one; a new one begins empty.
    #[arg(value_enum)]
    pub state: Switch,
    /// Data directory of the broker, on this machine.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// Yes or no.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What a report looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Names of [`SyncMethod`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SyncArg {
    /// Write, then fdatasync.
    Fdatasync,
    /// Write through a file opened with O_DSYNC.
    Dsync,
}

impl StartArgs {
    /// The options of the shell.
    pub fn into_options(self) -> Options {
        Options {
            data: self.data,
            listen: self.listen,
            core_listen: self.core_listen,
            advertised: self.advertised,
            cores: self.cores,
            config: self.config,
            allow_buffered_io: self.allow_buffered_io,
            check: self.check,
            sync_method: match self.sync_method {
                SyncArg::Fdatasync => SyncMethod::Fdatasync,
                SyncArg::Dsync => SyncMethod::Dsync,
            },
            tail_memory_percent: self.tail_memory_percent,
            ledger: !self.no_ledger,
            stall_ms: self.stall_ms,
        }
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("not of the form HOST:PORT, such as 127.0.0.1:9092".to_owned()),
    }
}

fn parse_core_address(text: &str) -> Result<String, String> {
    if text == "none" { Ok(text.to_owned()) } else { parse_address(text) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_arguments_mean_start_with_defaults() {
        let cli = Cli::parse_from(["monedula"]);
        assert!(cli.command.is_none());
        let Some(Command::Start(args)) = Cli::parse_from(["monedula", "start"]).command else {
            panic!("start was asked for");
        };
        assert!(args.data.is_none() && args.listen.is_none() && args.core_listen.is_none());
    }

    #[test]
    fn an_address_has_a_port() {
        assert!(Cli::try_parse_from(["monedula", "start", "--listen", "localhost:0"]).is_ok());
        assert!(Cli::try_parse_from(["monedula", "start", "--listen", "localhost"]).is_err());
        assert!(Cli::try_parse_from(["monedula", "start", "--listen", "none"]).is_err());
        assert!(Cli::try_parse_from(["monedula", "start", "--core-listen", "none"]).is_ok());
    }
}
