//! A result directory as one file, tar and zstd, and checking one: every figure is derived once more from the interval logs.

use std::io::Read;

use crate::figures::{Figures, figures};
use crate::files::{Files, text};
use crate::outcome::Measure;
use crate::report::{FIGURES_FILE, HTML_FILE, MARKDOWN_FILE, derive};
use crate::results::Results;

/// zstd's own default.
const COMPRESSION_LEVEL: i32 = 3;

/// The most bytes that a bundle unpacks to.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;

/// The most differences that are named.
const DIFFERENCES_MAX: usize = 200;

/// Packs files. The same files give the same bytes.
pub fn pack(files: &Files) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot pack: {error}");
    let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    let mut archive = tar::Builder::new(encoder);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
    }
    archive.into_inner().and_then(|encoder| encoder.finish()).map_err(failed)
}

/// Unpacks what [`pack`] made. Nothing is written anywhere, so names cannot do harm.
pub fn unpack(packed: &[u8]) -> Result<Files, String> {
    let failed = |error: std::io::Error| format!("not a bundle: {error}");
    let decoder = zstd::Decoder::new(packed).map_err(failed)?;
    let mut archive = tar::Archive::new(decoder.take(UNPACKED_BYTES_MAX));
    let mut files = Files::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Figures that were derived and compared.
    pub figures: usize,
    /// What differs, each a sentence that names the figure or file.
    pub differences: Vec<String>,
}

/// Derives every figure from the interval logs and compares with what the files of the report say.
pub fn verify(files: &Files) -> Result<Checked, String> {
    let results = Results::from_files(files)?;
    let derived = figures(&results)?;
    let mut differences = Vec::new();
    let written: Figures = serde_json::from_str(text(files, FIGURES_FILE)?)
        .map_err(|error| format!("{FIGURES_FILE}: {error}"))?;
    compare_figures(&written, &derived, &mut differences);
    compare_page(text(files, HTML_FILE)?, &derived, &mut differences);
    compare_counts(&results, &mut differences);
    // Tables and plots are derived too; another version may draw them otherwise.
    if differences.is_empty() && results.version == env!("CARGO_PKG_VERSION") {
        for (name, bytes) in derive(&results)? {
            match files.get(&name) {
                None => differences.push(format!("{name} is missing")),
                Some(there) if *there != bytes => {
                    differences.push(format!("{name} is not what its results give"))
                }
                Some(_) => {}
            }
        }
    } else if differences.is_empty() {
        text(files, MARKDOWN_FILE)?;
    }
    differences.truncate(DIFFERENCES_MAX);
    Ok(Checked { figures: derived.len(), differences })
}

fn compare_figures(written: &Figures, derived: &Figures, differences: &mut Vec<String>) {
    for (name, figure) in derived {
        match written.get(name) {
            None => differences.push(format!("{name}: missing, it should be {}", figure.text)),
            Some(there) if there != figure => {
                let (there, number) = (&there.text, there.value.unwrap_or(f64::NAN));
                let right = figure.value.unwrap_or(f64::NAN);
                differences.push(format!(
                    "{name}: {there} ({number}) is written, the interval log gives {} ({right})",
                    figure.text
                ));
            }
            Some(_) => {}
        }
    }
    for name in written.keys().filter(|name| !derived.contains_key(*name)) {
        differences.push(format!("{name}: written, but no result gives it"));
    }
}

/// Every figure on the page says which it is.
fn compare_page(page: &str, derived: &Figures, differences: &mut Vec<String>) {
    for piece in page.split("data-figure=\"").skip(1) {
        let Some((name, rest)) = piece.split_once("\">") else { continue };
        let shown = rest.split('<').next().unwrap_or_default();
        match derived.get(name) {
            Some(figure) if crate::plot::svg::escape(&figure.text) == shown => {}
            Some(figure) => {
                differences.push(format!(
                    "{HTML_FILE}, {name}: shows {shown}, the interval log gives {}",
                    figure.text
                ));
            }
            None => differences.push(format!("{HTML_FILE}, {name}: shown, but no result gives it")),
        }
    }
}

/// A run has as many latencies as records that were acknowledged.
fn compare_counts(results: &Results, differences: &mut Vec<String>) {
    for run in &results.runs {
        let produce = run.outcome.histograms.get(&Measure::Produce);
        let (samples, acked) = (produce.map_or(0, |histogram| histogram.len()), run.outcome.counts.acked);
        if samples != acked {
            differences.push(format!(
                "{}: {samples} produce latencies, but {acked} records are counted",
                run.file_stem()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::synthetic;

    fn bundle() -> Files {
        let results = synthetic::comparison();
        let mut files = results.to_files().unwrap();
        files.extend(derive(&results).unwrap());
        files
    }

    fn change(files: &mut Files, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(files[name].clone()).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        files.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
    }

    #[test]
    fn a_bundle_comes_back_and_holds() {
        let files = bundle();
        let packed = pack(&files).unwrap();
        assert_eq!(packed, pack(&files).unwrap());
        let back = unpack(&packed).unwrap();
        assert_eq!(back, files);
        let checked = verify(&back).unwrap();
        assert_eq!(checked.differences, Vec::<String>::new());
        assert!(checked.figures > 300, "{}", checked.figures);
        assert!(unpack(&packed[..packed.len() / 2]).is_err());
        assert!(unpack(b"nonsense").unwrap_err().contains("not a bundle"));
    }

    #[test]
    fn every_change_is_named() {
        let name = "durable/16-partitions/400-s/kafka/produce/p99";
        let mut files = bundle();
        let figures: Figures = serde_json::from_slice(&files[FIGURES_FILE]).unwrap();
        let value = figures[name].value.unwrap();
        change(
            &mut files,
            FIGURES_FILE,
            &format!("\"value\": {value:?},\n    \"text\": \"{}\"", figures[name].text),
            "\"value\": 1.0, \"text\": \"1 ns\"",
        );
        let differences = verify(&files).unwrap().differences;
        assert!(
            differences.iter().any(|difference| difference.contains("p99") && difference.contains("1 ns")),
            "{differences:?}"
        );

        let mut files = bundle();
        let shown = format!("data-figure=\"{name}\">");
        change(&mut files, HTML_FILE, &shown, &format!("{shown}0"));
        let differences = verify(&files).unwrap().differences;
        assert!(differences[0].contains(name) && differences[0].contains(HTML_FILE), "{differences:?}");

        let mut files = bundle();
        let log = "runs/durable-16-partitions-400-s-kafka-1.hlog".to_owned();
        let text = String::from_utf8(files[&log].clone()).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("Tag=produce,4.000")).collect();
        files.insert(log, (kept.join("\n") + "\n").into_bytes());
        let differences = verify(&files).unwrap().differences;
        assert!(differences.iter().any(|difference| difference.starts_with(name)), "{differences:?}");
        assert!(
            differences.iter().any(|difference| difference.contains("produce latencies")),
            "{differences:?}"
        );

        let mut files = bundle();
        change(&mut files, MARKDOWN_FILE, "kafka", "kafla");
        assert_eq!(verify(&files).unwrap().differences, ["report.md is not what its results give"]);
    }
}
