//! Monedula as one node: started with its defaults on the cores that it is given.

use std::path::{Path, PathBuf};

use crate::status_socket;

use super::cores::Cores;
use super::process::Process;

/// A broker program that is ready to be started.
#[derive(Clone, Debug)]
pub struct Monedula {
    program: PathBuf,
    version: String,
    extra: Vec<String>,
    cores: Cores,
}

impl Monedula {
    /// Asks the program for its version.
    #[allow(clippy::disallowed_methods, reason = "a program is run to ask it")]
    pub fn find(program: &Path, extra: &[String], cores: &Cores) -> Result<Self, String> {
        let shown = program.display();
        let output = std::process::Command::new(program).arg("--version").output().map_err(|error| {
            format!("cannot run {shown}: {error}; build it with cargo build --release, it is then target/release/monedula")
        })?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match said.split_once(' ') {
            Some(("monedula", version)) if output.status.success() => Ok(Self {
                program: program.to_owned(),
                version: version.to_owned(),
                extra: extra.to_vec(),
                cores: cores.clone(),
            }),
            _ => Err(format!("{shown} is not a Monedula broker: asked for its version it says `{said}`")),
        }
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn arguments(&self, data: &str, port: u16) -> Vec<String> {
        let mut arguments = vec!["start".to_owned(), "--data".to_owned(), data.to_owned()];
        arguments.extend(["--listen".to_owned(), format!("127.0.0.1:{port}")]);
        arguments.extend(["--core-listen", "none", "--log", "warn", "--cores"].map(str::to_owned));
        arguments.push(self.cores.to_string());
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// The command, without paths that mean nothing elsewhere.
    pub fn command(&self) -> String {
        format!("monedula {}", self.arguments("DATA", 9092).join(" "))
    }

    /// Where it answers questions about itself when it runs in this directory.
    pub fn status(&self, directory: &Path) -> PathBuf {
        status_socket::of_data(&directory.join("data"))
    }

    /// Starts it in an empty directory.
    pub fn start(&self, directory: &Path, port: u16) -> Result<Process, String> {
        let mut program = vec![self.program.to_string_lossy().into_owned()];
        program.extend(self.arguments(&directory.join("data").to_string_lossy(), port));
        Process::start("Monedula", &program, &self.cores, &directory.join("monedula.log"))
    }
}
