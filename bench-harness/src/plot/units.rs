//! Figures as people read them: three significant digits and the unit that keeps the number short.

/// A latency given in nanoseconds.
pub fn latency(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 999.5e3 => format!("{} µs", three_digits(ns / 1e3)),
        ns if ns < 999.5e6 => format!("{} ms", three_digits(ns / 1e6)),
        ns => format!("{} s", three_digits(ns / 1e9)),
    }
}

/// A latency on an axis: no digits that a round number does not need.
pub fn latency_tick(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{value} {unit}")
}

/// A count with a comma between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate per second: whole with commas, or one or two decimals where it is small.
pub fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { count(per_second.round() as u64) } else { three_digits(per_second) }
}

/// A rate on an axis.
pub fn rate_tick(per_second: f64) -> String {
    match per_second {
        r if r >= 1e6 => format!("{} M/s", trimmed(r / 1e6)),
        r if r >= 1e3 => format!("{} k/s", trimmed(r / 1e3)),
        r => format!("{}/s", trimmed(r)),
    }
}

/// Bytes per second.
pub fn throughput(bytes_per_second: f64) -> String {
    match bytes_per_second {
        b if b >= 1e9 => format!("{} GB/s", three_digits(b / 1e9)),
        b if b >= 1e6 => format!("{} MB/s", three_digits(b / 1e6)),
        b => format!("{} kB/s", three_digits(b / 1e3)),
    }
}

/// A ratio: two decimals below ten.
pub fn ratio(value: f64) -> String {
    if value < 0.1 { format!("{value:.3}") } else { three_digits(value) }
}

/// A quantile as a percentile, `p99.9`; 1.0 is `max`.
pub fn percentile(quantile: f64) -> String {
    if quantile >= 1.0 { "max".to_owned() } else { format!("p{}", percent(quantile)) }
}

/// A quantile in per cent, without the sign: 99.99.
pub fn percent(quantile: f64) -> String {
    trimmed((quantile * 1e9).round() / 1e7)
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

fn trimmed(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let latencies =
            [850.0, 1_234.0, 694_300.0, 999_700.0, 3_418_000.0, 56_789_000.0, 1.25e9].map(latency);
        assert_eq!(latencies, ["850 ns", "1.23 µs", "694 µs", "1.00 ms", "3.42 ms", "56.8 ms", "1.25 s"]);
        assert_eq!([999.0, 20_873.4, 1_000_000.0, 12.34].map(rate), ["999", "20,873", "1,000,000", "12.3"]);
        assert_eq!([0.5, 0.999, 0.9999, 1.0].map(percentile), ["p50", "p99.9", "p99.99", "max"]);
        assert_eq!([500.0, 2e4, 5e6].map(rate_tick), ["500/s", "20 k/s", "5 M/s"]);
        assert_eq!([1e5, 5e6].map(latency_tick), ["100 µs", "5 ms"]);
    }
}
