//! HdrHistogram's percentile distribution, as the HDR plotter and every `.hgrm` script read it. Values are milliseconds:
//! that is what the plotter writes on its axis.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %, HdrHistogram's own default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// The text of a `.hgrm` file.
pub fn write(histogram: &Histogram<u64>) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        ),
    );
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let value = step.value_iterated_to() as f64 / NANOSECONDS_PER_MILLISECOND;
        // The share of samples at or below the value, as Java's getPercentileLevelIteratedTo.
        let quantile = step.quantile_iterated_to();
        let count: u64 = histogram.count_between(0, step.value_iterated_to());
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            line(&mut out, format_args!("{value:12.6} {quantile:2.12} {count:10} {inverse:14.2}"));
        } else {
            line(&mut out, format_args!("{value:12.6} {quantile:2.12} {count:10}"));
        }
    }
    let (mean, deviation) = (milliseconds(histogram.mean()), milliseconds(histogram.stdev()));
    line(&mut out, format_args!("#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]"));
    let max = milliseconds(histogram.max() as f64);
    line(&mut out, format_args!("#[Max     = {max:12.6}, Total count    = {:12}]", histogram.len()));
    let (buckets, within) = (histogram.buckets(), sub_buckets(histogram.sigfig()));
    line(&mut out, format_args!("#[Buckets = {buckets:12}, SubBuckets     = {within:12}]"));
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string succeeds");
}

fn milliseconds(nanoseconds: f64) -> f64 {
    nanoseconds / NANOSECONDS_PER_MILLISECOND
}

/// Twice the resolution that the digits ask for, rounded up to a power of two, as HdrHistogram lays out its buckets.
fn sub_buckets(significant_digits: u8) -> u64 {
    (2 * 10u64.pow(u32::from(significant_digits))).next_power_of_two()
}

/// One line of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// The value, milliseconds.
    pub value_ms: f64,
    /// From 0 to 1.
    pub quantile: f64,
    /// Samples at or below the value.
    pub count: u64,
}

/// The lines of a `.hgrm` file.
pub fn read(text: &str) -> Result<Vec<Line>, String> {
    let data = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with("Value")
    });
    data.map(|(at, line)| {
        parse(line).ok_or_else(|| format!("line {}: no line of a distribution: {line}", at + 1))
    })
    .collect()
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    Some(Line {
        value_ms: words.next()?.parse().ok()?,
        quantile: words.next()?.parse().ok()?,
        count: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::empty_histogram;

    #[test]
    fn a_distribution_has_the_form_that_plotters_read() {
        let mut histogram = empty_histogram();
        histogram.record_n(1_000_000, 3).unwrap();
        histogram.record(2_000_000).unwrap();
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

    1.000447 0.000000000000          3           1.00
    1.000447 0.100000000000          3           1.11
    1.000447 0.200000000000          3           1.25
    1.000447 0.300000000000          3           1.43
    1.000447 0.400000000000          3           1.67
    1.000447 0.500000000000          3           2.00
    1.000447 0.550000000000          3           2.22
    1.000447 0.600000000000          3           2.50
    1.000447 0.650000000000          3           2.86
    1.000447 0.700000000000          3           3.33
    2.000895 0.750000000000          4           4.00
    2.000895 1.000000000000          4
#[Mean    =     1.250240, StdDeviation   =     0.433096]
#[Max     =     2.000895, Total count    =            4]
#[Buckets =           11, SubBuckets     =         2048]
";
        assert_eq!(write(&histogram), expected);
    }

    #[test]
    fn a_distribution_comes_back() {
        let mut histogram = empty_histogram();
        for n in 1..10_000u64 {
            histogram.record(n * n).unwrap();
        }
        let lines = read(&write(&histogram)).unwrap();
        assert_eq!(lines.last().unwrap().count, 9_999);
        assert!(lines.windows(2).all(|pair| pair[0].value_ms <= pair[1].value_ms));
        let median = lines.iter().find(|line| line.quantile >= 0.5).unwrap();
        assert!((median.value_ms - 25.0).abs() < 0.05, "{median:?}");
        assert!(read("nonsense here").unwrap_err().contains("line 1"));
    }
}
