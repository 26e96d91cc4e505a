//! Comma-separated values: one line per interval, for spreadsheets and scripts. The flow of records is found nowhere else in
//! a result directory; the percentiles are there for convenience and stand in the interval log exactly.

use std::fmt::Write;

use crate::outcome::{Flow, Interval, Measure};
use crate::statistics::Samples;

/// The columns of the flow, in order.
const FLOW: [&str; 8] = [
    "start_s",
    "length_s",
    "sent_records",
    "sent_bytes",
    "acked_records",
    "acked_bytes",
    "received_records",
    "received_bytes",
];

/// The percentiles of each measure.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

/// One line for each interval: the flow, then for each measure the number of samples and percentiles in nanoseconds; a
/// percentile that cannot be told is empty.
pub fn write(intervals: &[Interval]) -> Result<String, String> {
    let mut header: Vec<String> = FLOW.iter().map(|name| (*name).to_owned()).collect();
    for measure in Measure::ALL {
        header.push(format!("{measure}_samples"));
        header.extend(QUANTILES.iter().map(|(_, name)| format!("{measure}_{name}_ns")));
    }
    let mut out = header.join(",") + "\n";
    for interval in intervals {
        let flow = &interval.flow;
        write!(out, "{:.3},{:.3}", interval.start_s, interval.length_s)
            .expect("writing to a string succeeds");
        let counts = [
            flow.sent_records,
            flow.sent_bytes,
            flow.acked_records,
            flow.acked_bytes,
            flow.received_records,
            flow.received_bytes,
        ];
        for count in counts {
            write!(out, ",{count}").expect("writing to a string succeeds");
        }
        for measure in Measure::ALL {
            out.push(',');
            out.push_str(&percentiles(interval, measure)?);
        }
        out.push('\n');
    }
    Ok(out)
}

fn percentiles(interval: &Interval, measure: Measure) -> Result<String, String> {
    let Some(histogram) = interval.histogram(measure)? else {
        return Ok(["0", "", "", "", ""].join(","));
    };
    let samples = Samples::all(&histogram);
    let mut cells = vec![samples.count().to_string()];
    for (quantile, _) in QUANTILES {
        cells.push(samples.at(quantile).value_ns().map_or(String::new(), |value| value.to_string()));
    }
    Ok(cells.join(","))
}

/// The intervals of a file that [`write()`] made, without their histograms.
pub fn read(text: &str) -> Result<Vec<Interval>, String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if !header.starts_with(&FLOW.join(",")) {
        return Err(format!("the first line must begin with {}", FLOW.join(",")));
    }
    lines
        .enumerate()
        .map(|(at, line)| parse(line).ok_or_else(|| format!("line {}: not an interval: {line}", at + 2)))
        .collect()
}

fn parse(line: &str) -> Option<Interval> {
    let mut cells = line.split(',');
    let start_s = cells.next()?.parse().ok()?;
    let length_s = cells.next()?.parse().ok()?;
    let mut count = || cells.next()?.parse().ok();
    let flow = Flow {
        sent_records: count()?,
        sent_bytes: count()?,
        acked_records: count()?,
        acked_bytes: count()?,
        received_records: count()?,
        received_bytes: count()?,
    };
    Some(Interval { start_s, length_s, histograms: Default::default(), flow })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::EncodedHistogram;
    use crate::statistics::empty_histogram;

    #[test]
    fn the_flow_comes_back_and_percentiles_are_readable() {
        let mut histogram = empty_histogram();
        histogram.record_n(1000, 10).unwrap();
        let flow = Flow {
            sent_records: 10,
            sent_bytes: 1000,
            acked_records: 9,
            acked_bytes: 900,
            ..Flow::default()
        };
        let histograms = [(Measure::Produce, EncodedHistogram::encode(&histogram))].into();
        let interval = Interval { start_s: 2.0, length_s: 1.5, histograms, flow };
        let text = write(std::slice::from_ref(&interval)).unwrap();
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .starts_with("2.000,1.500,10,1000,9,900,0,0,10,1000,1000,1000,1000,0,,,,,")
        );
        let back = read(&text).unwrap();
        assert_eq!(back, [Interval { histograms: Default::default(), ..interval }]);
        assert!(read("a,b\n").unwrap_err().contains("start_s"));
        assert!(read(&text.replace("2.000", "two")).unwrap_err().contains("line 2"));
    }
}
