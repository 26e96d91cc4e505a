//! `monedula-bench report`, `bundle` and `verify`.
#![allow(clippy::disallowed_methods, reason = "bundles are read and written here")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::bundle;
use crate::files::{Files, directory};
use crate::report::{HTML_FILE, write};
use crate::results::Results;

/// The exit code when a figure is not what its interval log gives.
const DIFFERENT: u8 = 1;

/// Derives the report of a result directory again.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The directory
    directory: PathBuf,
}

/// Packs a result directory into one file.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// The directory
    directory: PathBuf,
    /// The file [default: the directory's name with .tar.zst]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Derives every figure again.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// A bundle or a result directory
    file: PathBuf,
}

/// Carries `report` out.
pub fn report(arguments: &ReportArguments) -> Outcome {
    let results = Results::from_files(&directory::load(&arguments.directory)?)?;
    write(&arguments.directory, &results)?;
    println!("{}", arguments.directory.join(HTML_FILE).display());
    Ok(ExitCode::SUCCESS)
}

/// Carries `bundle` out. A directory whose figures do not hold is not packed.
pub fn bundle(arguments: &BundleArguments) -> Outcome {
    let files = directory::load(&arguments.directory)?;
    if let Some(code) = differences(&files)? {
        return Ok(code);
    }
    let output = arguments.output.clone().unwrap_or_else(|| arguments.directory.with_extension("tar.zst"));
    let packed = bundle::pack(&files)?;
    std::fs::write(&output, &packed).map_err(|error| format!("{}: {error}", output.display()))?;
    println!("{}: {} files, {} bytes", output.display(), files.len(), packed.len());
    Ok(ExitCode::SUCCESS)
}

/// Carries `verify` out.
pub fn verify(arguments: &VerifyArguments) -> Outcome {
    let file = &arguments.file;
    let files = match file.is_dir() {
        true => directory::load(file)?,
        false => {
            bundle::unpack(&std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?)?
        }
    };
    Ok(differences(&files)?.unwrap_or(ExitCode::SUCCESS))
}

/// Says what differs, if something does.
fn differences(files: &Files) -> Result<Option<ExitCode>, String> {
    let checked = bundle::verify(files)?;
    for difference in &checked.differences {
        eprintln!("{difference}");
    }
    match checked.differences.len() {
        0 => {
            println!("{} figures are what the interval logs give", checked.figures);
            Ok(None)
        }
        count => {
            eprintln!("{count} differences");
            Ok(Some(ExitCode::from(DIFFERENT)))
        }
    }
}
