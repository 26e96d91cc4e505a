//! The report as one HTML file. Style, script and plots stand in it; nothing is fetched.

use std::fmt::Write;

use crate::figures::{
    Figures, Group, STAGE_QUANTILES, Side, broker_rows, groups, invalid_runs, is_valid, ratio_name,
};
use crate::outcome::{Measure, StagesRead};
use crate::plot::svg::escape;
use crate::plot::{COLOURS, STYLE};
use crate::results::{Preset, Results, Run, slug};
use crate::statistics::TABLE_QUANTILES;

use super::method::METHOD;
use super::sections::{HEADLINES, name, plots, sweeps};

/// The whole file.
pub fn render(results: &Results, figures: &Figures) -> Result<String, String> {
    let mut groups = groups(results)?;
    let sweeps = sweeps(&groups);
    groups.retain(|group| !group.probe);
    let mut page = Page { out: String::new(), figures };
    page.head(results);
    page.banner(results);
    page.summary(&groups);
    if !sweeps.is_empty() {
        page.sweeps(&sweeps);
    }
    for preset in presets(&groups) {
        page.preset(preset, &groups);
    }
    page.method();
    page.brokers(results);
    page.environment(results);
    page.push("</main><script>");
    page.push(include_str!("report.js"));
    page.push("</script></body></html>\n");
    Ok(page.out)
}

fn presets(groups: &[Group<'_>]) -> Vec<Option<Preset>> {
    let mut presets: Vec<Option<Preset>> = groups.iter().map(|group| group.preset).collect();
    presets.dedup();
    presets
}

struct Page<'a> {
    out: String,
    figures: &'a Figures,
}

impl Page<'_> {
    fn push(&mut self, html: &str) {
        self.out.push_str(html);
    }

    fn add(&mut self, html: std::fmt::Arguments<'_>) {
        self.out.write_fmt(html).expect("writing to a string succeeds");
    }

    /// A figure by its name, so that it can be checked.
    fn figure(&self, id: &str) -> String {
        match self.figures.get(id) {
            Some(figure) => format!("<span data-figure=\"{}\">{}</span>", escape(id), escape(&figure.text)),
            None => "–".to_owned(),
        }
    }

    /// A figure with its band beneath.
    fn banded(&self, id: &str) -> String {
        let band = format!("{id}/band");
        match self.figures.contains_key(&band) {
            true => format!("{}<small>{}</small>", self.figure(id), self.figure(&band)),
            false => self.figure(id),
        }
    }

    fn head(&mut self, results: &Results) {
        let title = escape(&results.title);
        self.add(format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
             <style>{STYLE}{}</style></head><body><main><h1>{title}</h1>",
            include_str!("report.css")
        ));
        let commit =
            results.commit.as_ref().map_or(String::new(), |commit| format!(", commit {}", escape(commit)));
        let rounds = results.runs.iter().map(|run| run.round).max().unwrap_or(0);
        self.add(format_args!(
            "<p class=\"subtitle\">{} · monedula-bench {}{commit} · {} runs in {rounds} round{}</p>",
            date(results.created_at_ms),
            escape(&results.version),
            results.runs.len(),
            if rounds == 1 { "" } else { "s" }
        ));
        self.push(
            "<nav><a href=\"#summary\">Summary</a><a href=\"#method\">How to read this</a><a href=\"#brokers\">Brokers</a>\
             <a href=\"#environment\">Machine</a></nav>",
        );
        self.add(format_args!("<pre>{}</pre>", escape(&results.command)));
        if !results.notes.is_empty() {
            let notes: String =
                results.notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
            self.add(format_args!("<ul class=\"notes\">{notes}</ul>"));
        }
    }

    fn banner(&mut self, results: &Results) {
        let invalid = invalid_runs(results);
        if invalid.is_empty() {
            return;
        }
        let line = |(run, reasons): &(&Run, &[String])| {
            let preset = run.preset.map_or("", Preset::name);
            let which = format!("{preset} {}, {}, {}, round {}", run.load, run.step, run.broker, run.round);
            format!("<li>{}: {}</li>", escape(which.trim_start()), escape(&reasons.join("; ")))
        };
        let lines: String = invalid.iter().map(line).collect();
        let (count, all) = (invalid.len(), results.runs.iter().filter(|run| !run.probe).count());
        self.add(format_args!(
            "<div class=\"invalid-banner\"><strong>INVALID: {count} of {all} runs</strong><ul>{lines}</ul></div>"
        ));
    }

    /// One table for each preset: a line for each load and step.
    fn summary(&mut self, groups: &[Group<'_>]) {
        self.push("<h2 id=\"summary\" class=\"flow\">Summary</h2><p>Produce latency from the intended time to the acknowledgement.</p>");
        for preset in presets(groups) {
            if let Some(preset) = preset {
                self.add(format_args!("<h3>{}</h3>", escape(preset.heading())));
            }
            let of_preset: Vec<&Group<'_>> = groups.iter().filter(|group| group.preset == preset).collect();
            self.push("<div class=\"scroll\"><table><thead><tr><th>load</th><th class=\"text\">broker</th><th>acknowledged</th>");
            for quantile in HEADLINES {
                self.add(format_args!("<th>{}</th>", name(quantile)));
            }
            self.push("<th>per broker core</th></tr></thead><tbody>");
            for group in of_preset {
                self.summary_lines(group);
            }
            self.push("</tbody></table></div>");
        }
    }

    fn summary_lines(&mut self, group: &Group<'_>) {
        for (at, side) in group.sides.iter().enumerate() {
            let label = match at {
                0 => {
                    format!("<a href=\"#{}\">{}, {}</a>", group.id(), escape(group.load), escape(group.step))
                }
                _ => String::new(),
            };
            let id = format!("{}/{}", group.id(), slug(side.broker));
            self.add(format_args!("<tr><td>{label}</td><td class=\"text\">{}</td>", broker(side)));
            self.add(format_args!("<td>{}/s</td>", self.figure(&format!("{id}/acked-per-second"))));
            for quantile in HEADLINES {
                let id = format!("{id}/produce/{}", name(quantile));
                self.add(format_args!("<td>{}</td>", self.figure(&id)));
            }
            let per_core = format!("{id}/acked-per-core-second");
            match self.figures.contains_key(&per_core) {
                true => self.add(format_args!("<td>{}/s</td></tr>", self.figure(&per_core))),
                false => self.push("<td>–</td></tr>"),
            }
        }
        let Some((first, others)) = group.sides.split_first() else { return };
        for other in others {
            let id = format!("{}/{}", group.id(), ratio_name(other, first));
            let (ours, theirs) = (escape(first.broker), escape(other.broker));
            // What may not be believed is not divided in bold.
            let (class, mark) = match is_valid(first) && is_valid(other) {
                true => ("best", ""),
                false => ("", " <span class=\"bad\">INVALID</span>"),
            };
            self.add(format_args!(
                "<tr class=\"{class}\"><td></td><td class=\"text\">{theirs} ÷ {ours}{mark}</td>"
            ));
            // Of throughput more is better, so there it is the other way round, and said so.
            let more = |figure: &str| {
                let id = format!("{id}/{figure}");
                let differs = self
                    .figures
                    .get(&id)
                    .and_then(|figure| figure.value)
                    .is_some_and(|value| (value - 1.0).abs() > 0.01);
                if differs {
                    format!("{}<small>{ours} ÷ {theirs}</small>", self.figure(&id))
                } else {
                    String::new()
                }
            };
            let (acked, per_core) = (more("acked-per-second"), more("acked-per-core-second"));
            self.add(format_args!("<td>{acked}</td>"));
            for quantile in HEADLINES {
                let id = format!("{id}/{}", name(quantile));
                self.add(format_args!("<td>{}</td>", self.banded(&id)));
            }
            self.add(format_args!("<td>{per_core}</td></tr>"));
        }
    }

    fn sweeps(&mut self, sweeps: &[(String, String)]) {
        self.push("<h2 class=\"flow\">Latency against throughput</h2>");
        self.push("<p class=\"note\">One dot for each step: thin p50, thick p99, dashed p99.9. A crossed step is INVALID.</p><div class=\"pair\">");
        for (name, svg) in sweeps {
            self.add(format_args!("<figure>{svg}<figcaption>{}</figcaption></figure>", escape(name)));
        }
        self.push("</div>");
    }

    fn preset(&mut self, preset: Option<Preset>, groups: &[Group<'_>]) {
        match preset {
            Some(preset) => self.add(format_args!("<h2>{}</h2>", escape(preset.heading()))),
            None => self.push("<h2>Runs</h2>"),
        }
        for group in groups.iter().filter(|group| group.preset == preset) {
            self.group(group);
        }
    }

    fn group(&mut self, group: &Group<'_>) {
        self.add(format_args!(
            "<h3 id=\"{}\">{}, {}</h3>",
            group.id(),
            escape(group.load),
            escape(group.step)
        ));
        for side in group.sides.iter().filter(|side| !is_valid(side)) {
            let reasons = escape(&side.merged.verdict.reasons().join("; "));
            self.add(format_args!(
                "<div class=\"invalid-banner\"><strong>INVALID</strong> {}: {reasons}</div>",
                escape(side.broker)
            ));
        }
        self.latency_table(group);
        let plots = plots(group);
        let (curves, over_time): (Vec<_>, Vec<_>) =
            plots.iter().partition(|(name, _)| !name.starts_with("over-time"));
        for (name, svg) in curves {
            let caption = match name.as_str() {
                "ratio" => {
                    "How many times as long. Above 1 the first named is the slower; shaded is the 95 % band."
                }
                _ => {
                    "Response by percentile; every further nine takes the same room. Shaded is the 95 % band, dotted what \
                      rests on fewer than 100 samples."
                }
            };
            self.add(format_args!("<figure>{svg}<figcaption>{caption}</figcaption></figure>"));
        }
        self.push("<div class=\"pair\">");
        for (_, svg) in over_time {
            self.add(format_args!("<figure>{svg}</figure>"));
        }
        self.push("</div>");
        self.measures_table(group);
        for side in &group.sides {
            self.stages_table(group, side);
        }
        self.flow_table(group);
    }

    /// What the broker said of its own time, beside what we measured from outside.
    fn stages_table(&mut self, group: &Group<'_>, side: &Side<'_>) {
        let stages = match &side.merged.broker_stages {
            None => return,
            Some(StagesRead::NotRead(why)) => {
                return self.add(format_args!(
                    "<p class=\"note\">{}'s own stages were not read: {}.</p>",
                    escape(side.broker),
                    escape(why)
                ));
            }
            Some(StagesRead::Read(stages)) => stages,
        };
        self.add(format_args!(
            "<p class=\"note\">{}'s own stages, as it counted them itself over {:.0} s: from the bytes of a request in its \
             socket to the written response. Means sum to the total; a fetch waits as long as its client wishes.</p>\
             <div class=\"scroll\"><table><thead><tr><th>request</th><th class=\"text\">stage</th><th>requests</th><th>mean</th>",
            escape(side.broker),
            stages.seconds
        ));
        for quantile in STAGE_QUANTILES {
            self.add(format_args!("<th>{}</th>", name(quantile)));
        }
        self.push("</tr></thead><tbody>");
        for (api, stage, _) in broker_rows(stages) {
            let id = format!("{}/{}/broker/{api}/{stage}", group.id(), slug(side.broker));
            let class = if stage == "total" { " class=\"best\"" } else { "" };
            self.add(format_args!(
                "<tr{class}><td>{}</td><td class=\"text\">{}</td>",
                escape(api),
                escape(stage)
            ));
            let names = STAGE_QUANTILES.map(name);
            for figure in ["requests", "mean"].into_iter().chain(names.iter().map(String::as_str)) {
                self.add(format_args!("<td>{}</td>", self.figure(&format!("{id}/{figure}"))));
            }
            self.push("</tr>");
        }
        self.push("</tbody></table></div>");
    }

    /// Produce by percentile: sides as columns, then ratios.
    fn latency_table(&mut self, group: &Group<'_>) {
        self.push("<div class=\"scroll\"><table><thead><tr><th>produce</th>");
        for side in &group.sides {
            self.add(format_args!("<th>{}</th>", broker(side)));
        }
        let Some((first, others)) = group.sides.split_first() else {
            return self.push("</tr></thead></table></div>");
        };
        for other in others {
            self.add(format_args!("<th>{} ÷ {}</th>", escape(other.broker), escape(first.broker)));
        }
        self.push("<th>floor</th></tr></thead><tbody>");
        for quantile in TABLE_QUANTILES {
            let name = name(quantile);
            self.add(format_args!("<tr><td>{name}</td>"));
            for side in &group.sides {
                let id = format!("{}/{}/produce/{name}", group.id(), slug(side.broker));
                self.add(format_args!("<td>{}</td>", self.banded(&id)));
            }
            for other in others {
                let id = format!("{}/{}/{name}", group.id(), ratio_name(other, first));
                self.add(format_args!("<td>{}</td>", self.banded(&id)));
            }
            let id = format!("{}/{}/floor/{name}", group.id(), slug(first.broker));
            self.add(format_args!("<td>{}</td></tr>", self.figure(&id)));
        }
        self.push("</tbody></table></div>");
    }

    /// All other measures.
    fn measures_table(&mut self, group: &Group<'_>) {
        self.push("<div class=\"scroll\"><table><thead><tr><th>measure</th><th class=\"text\">broker</th><th>samples</th>");
        for quantile in TABLE_QUANTILES {
            self.add(format_args!("<th>{}</th>", name(quantile)));
        }
        self.push("</tr></thead><tbody>");
        for measure in Measure::ALL {
            for side in group.sides.iter().filter(|side| side.samples(measure).is_some()) {
                let id = format!("{}/{}/{measure}", group.id(), slug(side.broker));
                self.add(format_args!("<tr><td>{measure}</td><td class=\"text\">{}</td>", broker(side)));
                self.add(format_args!("<td>{}</td>", self.figure(&format!("{id}/samples"))));
                for quantile in TABLE_QUANTILES {
                    let id = format!("{id}/{}", name(quantile));
                    self.add(format_args!("<td>{}</td>", self.figure(&id)));
                }
                self.push("</tr>");
            }
        }
        self.push("</tbody></table></div>");
    }

    /// What flowed, what it cost, and what the checks found.
    fn flow_table(&mut self, group: &Group<'_>) {
        const LINES: [(&str, &str, &str); 24] = [
            ("intended", "intended-per-second", "/s"),
            ("acknowledged", "acked-per-second", "/s"),
            ("acknowledged, bytes of values", "acked-bytes-per-second", ""),
            ("received", "received-per-second", "/s"),
            ("produce requests", "requests-per-second", "/s"),
            ("records per request", "records-per-request", ""),
            ("beyond deadline", "beyond-deadline", ""),
            ("failed", "failed", ""),
            ("dropped", "dropped", ""),
            ("lost", "lost", ""),
            ("duplicated", "duplicated", ""),
            ("reordered", "reordered", ""),
            ("corrupt", "corrupt", ""),
            ("generator, cores busy", "generator-cores", ""),
            ("broker, cores busy", "broker-cores", ""),
            ("broker CPU per record, µs", "broker-cpu-us-per-record", ""),
            ("broker CPU per produce request, µs", "broker-cpu-us-per-request", ""),
            ("catch-up, bytes of values", "catch-up-bytes-per-second", ""),
            ("catch-up, broker CPU per GB, s", "catch-up-cpu-seconds-per-gb", ""),
            ("acknowledged per core and second", "acked-per-core-second", ""),
            ("acknowledged, records", "acked", ""),
            ("machine, share of all cores busy", "machine-busy", ""),
            ("CPU pressure, worst second", "cpu-pressure-worst-second", ""),
            ("CPU taken by the host, worst second", "steal-worst-second", ""),
        ];
        self.push("<details><summary>Flow, cost and checks</summary><div class=\"scroll\"><table><thead><tr><th></th>");
        for side in &group.sides {
            self.add(format_args!("<th>{}</th>", broker(side)));
        }
        self.push("</tr></thead><tbody>");
        for (label, figure, unit) in LINES {
            let ids: Vec<String> = group
                .sides
                .iter()
                .map(|side| format!("{}/{}/{figure}", group.id(), slug(side.broker)))
                .collect();
            if !ids.iter().any(|id| self.figures.contains_key(id)) {
                continue;
            }
            self.add(format_args!("<tr><td>{label}</td>"));
            for id in ids {
                let is_check =
                    matches!(figure, "lost" | "duplicated" | "reordered" | "corrupt" | "failed" | "dropped");
                let found =
                    self.figures.get(&id).and_then(|figure| figure.value).is_some_and(|value| value > 0.0);
                let class = if is_check && found { " class=\"bad\"" } else { "" };
                self.add(format_args!("<td{class}>{}{unit}</td>", self.figure(&id)));
            }
            self.push("</tr>");
        }
        self.push("</tbody></table></div></details>");
        if let Some(run) = group.sides.first().and_then(|side| side.rounds.first())
            && let Ok(workload) = serde_json::to_string_pretty(&run.outcome.workload)
        {
            self.add(format_args!(
                "<details><summary>Workload, seed {}</summary><pre>{}</pre></details>",
                run.outcome.workload.seed,
                escape(&workload)
            ));
        }
    }

    fn method(&mut self) {
        self.push("<h2 id=\"method\">How to read this</h2><dl>");
        for (heading, text) in METHOD {
            self.add(format_args!("<dt>{heading}</dt><dd>{text}</dd>"));
        }
        self.push("</dl>");
    }

    fn brokers(&mut self, results: &Results) {
        self.push("<h2 id=\"brokers\" class=\"flow\">Brokers</h2>");
        for broker in &results.brokers {
            let version = broker.version.as_deref().unwrap_or("version unknown");
            self.add(format_args!(
                "<h3>{} <span class=\"note\">{}</span></h3>",
                escape(&broker.name),
                escape(version)
            ));
            if let Some(command) = &broker.command {
                self.add(format_args!("<pre>{}</pre>", escape(command)));
            }
            if let Some(configuration) = &broker.configuration {
                self.add(format_args!(
                    "<details><summary>Configuration</summary><pre>{}</pre></details>",
                    escape(configuration)
                ));
            }
        }
    }

    fn environment(&mut self, results: &Results) {
        self.push("<h2 id=\"environment\" class=\"flow\">Machine</h2><table class=\"environment\"><tbody>");
        for fact in &results.environment.facts {
            self.add(format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&fact.section),
                escape(&fact.name),
                escape(&fact.value)
            ));
        }
        self.push("</tbody></table>");
    }
}

fn broker(side: &Side<'_>) -> String {
    let mark = if is_valid(side) { "" } else { " <span class=\"bad\">INVALID</span>" };
    format!("<span class=\"swatch c{}\"></span>{}{mark}", side.colour % COLOURS, escape(side.broker))
}

/// A time as an ISO date and minute in UTC.
pub fn date(at_ms: u64) -> String {
    // Howard Hinnant's days_from_civil, backwards.
    let (days, seconds) = (at_ms / 86_400_000, at_ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let dates = [0, 951_782_400_000, 1_700_000_000_000, 1_798_761_599_000].map(date);
        assert_eq!(
            dates,
            ["1970-01-01 00:00 UTC", "2000-02-29 00:00 UTC", "2023-11-14 22:13 UTC", "2026-12-31 23:59 UTC"]
        );
    }
}
