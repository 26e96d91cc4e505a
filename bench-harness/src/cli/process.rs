//! What a process is told from outside: its command line and its signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// The command line, with the name of this program in place of the path to it.
pub fn command_line() -> String {
    let quoted = |argument: String| match argument
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "-_=./,:+@%".contains(letter))
    {
        true if !argument.is_empty() => argument,
        _ => format!("'{}'", argument.replace('\'', "'\\''")),
    };
    let arguments = std::env::args().skip(1).map(quoted);
    std::iter::once("monedula-bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A flag that Ctrl-C sets. A second Ctrl-C ends the process at once.
pub fn interrupt() -> Result<Arc<AtomicBool>, std::io::Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
