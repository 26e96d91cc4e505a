//! Everything that is derived from results, as files.

use std::path::Path;

use crate::figures::{Figures, figures, groups};
use crate::files::{Files, directory, hgrm};
use crate::outcome::Measure;
use crate::plot;
use crate::results::{Results, slug};

use super::{html, markdown, sections};

/// The figures by name.
pub const FIGURES_FILE: &str = "figures.json";

/// The report.
pub const HTML_FILE: &str = "report.html";

/// The tables of the report.
pub const MARKDOWN_FILE: &str = "report.md";

/// The figures, the report, the plots, and a percentile distribution of every measure of every side.
pub fn derive(results: &Results) -> Result<Files, String> {
    let figures = figures(results)?;
    let mut files = Files::new();
    files.insert(FIGURES_FILE.to_owned(), json(&figures)?.into_bytes());
    files.insert(HTML_FILE.to_owned(), html::render(results, &figures)?.into_bytes());
    files.insert(MARKDOWN_FILE.to_owned(), markdown::render(results, &figures)?.into_bytes());
    for group in groups(results)?.into_iter().filter(|group| !group.probe) {
        for side in &group.sides {
            for measure in Measure::ALL {
                if let Some(histogram) = side.merged.histograms.get(&measure) {
                    let name =
                        format!("hgrm/{}.hgrm", slug(&format!("{} {} {measure}", group.id(), side.broker)));
                    files.insert(name, hgrm::write(histogram).into_bytes());
                }
            }
        }
        for (name, svg) in sections::plots(&group) {
            let name = format!("plots/{}.svg", slug(&format!("{} {name}", group.id())));
            files.insert(name, plot::standalone(&svg).into_bytes());
        }
    }
    for (name, svg) in sections::sweeps(&groups(results)?) {
        files.insert(format!("plots/{}.svg", slug(&name)), plot::standalone(&svg).into_bytes());
    }
    Ok(files)
}

/// Writes the results and everything that is derived from them into a directory.
pub fn write(directory: &Path, results: &Results) -> Result<(), String> {
    let mut files = results.to_files()?;
    // From the files and not from memory: what was rounded in them is rounded in the report.
    files.extend(derive(&Results::from_files(&files)?)?);
    directory::save(directory, &files)
}

fn json(figures: &Figures) -> Result<String, String> {
    serde_json::to_string_pretty(figures).map(|text| text + "\n").map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::text;
    use crate::results::synthetic;

    #[test]
    fn a_report_needs_no_network_and_hides_nothing() {
        let mut results = synthetic::comparison();
        results.runs[0].outcome.verdict = crate::outcome::Verdict::of(vec!["client <bound>: lag".to_owned()]);
        let files = derive(&results).unwrap();
        let html = text(&files, HTML_FILE).unwrap();
        for external in ["http://", "https://", "src=", "@import", "url(", "<link"] {
            assert!(!html.contains(external), "{external}");
        }
        assert!(html.contains("INVALID") && html.contains("client &lt;bound&gt;: lag"));
        assert!(
            html.contains("not durable on one node")
                && html.contains(&crate::plot::svg::escape(&results.command))
        );
        for (name, bytes) in &files {
            if name.ends_with(".svg") {
                let svg = std::str::from_utf8(bytes).unwrap();
                assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count(), "{name}");
            }
        }
        if let Ok(directory) = std::env::var("MONEDULA_BENCH_KEEP") {
            crate::files::directory::save(std::path::Path::new(&directory), &files).unwrap();
        }
    }

    #[test]
    fn the_same_results_give_the_same_bytes() {
        assert_eq!(derive(&synthetic::comparison()), derive(&synthetic::comparison()));
    }

    #[test]
    fn a_single_run_of_an_unknown_broker_is_a_report_too() {
        let mut results = synthetic::comparison();
        results.runs.truncate(1);
        results.brokers.clear();
        results.runs[0].preset = None;
        let files = derive(&results).unwrap();
        assert!(text(&files, HTML_FILE).unwrap().contains("run/1-partition/200-s/monedula/produce/p50"));
        assert!(text(&files, MARKDOWN_FILE).unwrap().contains("| p50 |"));
    }
}
