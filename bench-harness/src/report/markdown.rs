//! The tables of the report in Markdown, as they go into a README.

use std::fmt::Write;

use crate::figures::{Figures, Group, groups, invalid_runs, is_valid, ratio_name};
use crate::results::{Results, slug};

use super::sections::{HEADLINES, name};

/// Both tables, notes and the command.
pub fn render(results: &Results, figures: &Figures) -> Result<String, String> {
    let mut groups = groups(results)?;
    groups.retain(|group| !group.probe);
    let mut out = format!("## {}\n\n", results.title);
    let mut push = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("writing to a string succeeds");
    for note in &results.notes {
        push(format_args!("- {note}\n"));
    }
    let invalid = invalid_runs(results);
    if !invalid.is_empty() {
        push(format_args!(
            "- **INVALID: {} of {} runs**, marked below\n",
            invalid.len(),
            results.runs.iter().filter(|run| !run.probe).count()
        ));
    }
    let mut presets: Vec<_> = groups.iter().map(|group| group.preset).collect();
    presets.dedup();
    for preset in presets {
        if let Some(preset) = preset {
            push(format_args!("\n**{}**\n", preset.heading()));
        }
        let of_preset: Vec<&Group<'_>> = groups.iter().filter(|group| group.preset == preset).collect();
        push(format_args!("\n{}", table(&of_preset, figures)));
        push(format_args!("{}", catch_up(&of_preset, figures)));
    }
    push(format_args!("\n```sh\n{}\n```\n", results.command));
    Ok(out)
}

/// How everything was read once it had been written, where that was measured.
fn catch_up(groups: &[&Group<'_>], figures: &Figures) -> String {
    let mut out = String::new();
    for group in groups {
        for side in &group.sides {
            let id = format!("{}/{}", group.id(), slug(side.broker));
            let Some(rate) = figures.get(&format!("{id}/catch-up-bytes-per-second")) else { continue };
            if out.is_empty() {
                out.push_str(
                    "\n| catch-up | broker | bytes of values | broker CPU per GB |\n|---|---|---:|---:|\n",
                );
            }
            let cpu = figures.get(&format!("{id}/catch-up-cpu-seconds-per-gb"));
            let cpu = cpu.map_or("–".to_owned(), |cpu| format!("{} s", cpu.text));
            let mark = if is_valid(side) { "" } else { " **INVALID**" };
            writeln!(
                out,
                "| {}, {} | {}{mark} | {} | {cpu} |",
                group.load, group.step, side.broker, rate.text
            )
            .expect("writing to a string succeeds");
        }
    }
    out
}

/// A line for each load, step and side, and one for each ratio with its band.
fn table(groups: &[&Group<'_>], figures: &Figures) -> String {
    let mut out = String::from("| load | broker | acknowledged/s |");
    for quantile in HEADLINES {
        write!(out, " {} |", name(quantile)).expect("writing to a string succeeds");
    }
    out.push_str(" per broker core and second |\n|---|---|---:|");
    out.push_str(&"---:|".repeat(HEADLINES.len()));
    out.push_str("---:|\n");
    let text = |id: String| figures.get(&id).map_or("–".to_owned(), |figure| figure.text.clone());
    for group in groups {
        for (at, side) in group.sides.iter().enumerate() {
            let label = if at == 0 { format!("{}, {}", group.load, group.step) } else { String::new() };
            let id = format!("{}/{}", group.id(), slug(side.broker));
            let mark = if is_valid(side) { "" } else { " **INVALID**" };
            let mut cells =
                vec![label, format!("{}{mark}", side.broker), text(format!("{id}/acked-per-second"))];
            cells.extend(HEADLINES.map(|quantile| text(format!("{id}/produce/{}", name(quantile)))));
            cells.push(text(format!("{id}/acked-per-core-second")));
            writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a string succeeds");
        }
        let Some((first, others)) = group.sides.split_first() else { continue };
        for other in others {
            let id = format!("{}/{}", group.id(), ratio_name(other, first));
            // What may not be believed is not divided in bold.
            let bold = if is_valid(first) && is_valid(other) { "**" } else { "" };
            // Of throughput more is better: there the first stands above, and it is said.
            let more = |figure: &str| match figures.get(&format!("{id}/{figure}")) {
                Some(figure) if figure.value.is_some_and(|value| (value - 1.0).abs() > 0.01) => {
                    format!("{bold}{}{bold} ({} ÷ {})", figure.text, first.broker, other.broker)
                }
                _ => String::new(),
            };
            let mut cells =
                vec![String::new(), format!("{} ÷ {}", other.broker, first.broker), more("acked-per-second")];
            cells.extend(HEADLINES.map(|quantile| {
                let id = format!("{id}/{}", name(quantile));
                match figures.get(&format!("{id}/band")) {
                    Some(band) => format!("{bold}{}{bold} ({})", text(id), band.text),
                    None => text(id),
                }
            }));
            cells.push(more("acked-per-core-second"));
            writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a string succeeds");
        }
    }
    out
}
