//! HdrHistogram's interval log: V2 histograms, compressed, one line per interval and tag. The tag names the measure, so
//! that `HistogramLogProcessor -tag produce` and HdrHistogramVisualizer work on the file. Values are nanoseconds; the third
//! column, which only people read, is the interval's maximum in milliseconds.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::statistics::merge;

/// Nanoseconds in the unit of the third column.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// One histogram of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Which measure, without spaces and commas.
    pub tag: String,
    /// Start, milliseconds after the start of the log.
    pub start_ms: u64,
    /// Length, milliseconds.
    pub duration_ms: u64,
    /// The samples, nanoseconds.
    pub histogram: Histogram<u64>,
}

/// The contents of a `.hlog` file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalLog {
    /// Start, milliseconds since 1970.
    pub started_at_ms: u64,
    /// In order of time.
    pub intervals: Vec<Interval>,
}

impl IntervalLog {
    /// The tags that occur, each once, in order of appearance.
    pub fn tags(&self) -> Vec<&str> {
        let mut tags = Vec::new();
        for interval in &self.intervals {
            if !tags.contains(&interval.tag.as_str()) {
                tags.push(&interval.tag);
            }
        }
        tags
    }

    /// The histograms of one tag, in order of time.
    pub fn of_tag<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Histogram<u64>> {
        self.intervals.iter().filter(move |interval| interval.tag == tag).map(|interval| &interval.histogram)
    }

    /// All samples of one tag.
    pub fn total(&self, tag: &str) -> Histogram<u64> {
        merge(self.of_tag(tag))
    }
}

/// The text of a `.hlog` file; `comment` stands at its head. Fails only for a tag with a space, a comma or a line end.
pub fn write(log: &IntervalLog, comment: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_millis(log.started_at_ms);
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(comment)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MAX_VALUE_DIVISOR)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(|error| error.to_string())?;
    for interval in &log.intervals {
        let tag = Tag::new(&interval.tag)
            .ok_or_else(|| format!("`{}` cannot be a tag: no spaces, no commas", interval.tag))?;
        let (start, duration) =
            (Duration::from_millis(interval.start_ms), Duration::from_millis(interval.duration_ms));
        writer
            .write_histogram(&interval.histogram, start, duration, Some(tag))
            .map_err(|error| error.to_string())?;
    }
    drop(writer);
    Ok(String::from_utf8(out).expect("the writer writes text"))
}

/// Reads a `.hlog` file, this crate's or another's.
pub fn read(text: &str) -> Result<IntervalLog, String> {
    let mut log = IntervalLog::default();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        match entry.map_err(|error| format!("not an interval log: {error:?}"))? {
            LogEntry::StartTime(since) | LogEntry::BaseTime(since) => log.started_at_ms = milliseconds(since),
            LogEntry::Interval(line) => {
                let tag = line.tag().map_or("", |tag| tag.as_str()).to_owned();
                let start_ms = milliseconds(line.start_timestamp());
                let bad = |error: String| format!("interval `{tag}` at {start_ms} ms: {error}");
                let bytes =
                    STANDARD.decode(line.encoded_histogram()).map_err(|error| bad(error.to_string()))?;
                let histogram = deserializer
                    .deserialize(&mut bytes.as_slice())
                    .map_err(|error| bad(error.to_string()))?;
                let duration_ms = milliseconds(line.duration());
                log.intervals.push(Interval { tag, start_ms, duration_ms, histogram });
            }
        }
    }
    Ok(log)
}

/// To the nearest: the log has three decimals, and their binary form may be a hair below.
fn milliseconds(duration: Duration) -> u64 {
    (duration.as_secs_f64() * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::empty_histogram;

    fn sample() -> IntervalLog {
        let interval = |tag: &str, second: u64| {
            let mut histogram = empty_histogram();
            for n in 1..=1000 {
                histogram.record(n * 1000 * (second + 1)).unwrap();
            }
            Interval { tag: tag.to_owned(), start_ms: second * 1000, duration_ms: 1000, histogram }
        };
        let intervals =
            (0..3).flat_map(|second| [interval("produce", second), interval("end_to_end", second)]);
        IntervalLog { started_at_ms: 1_700_000_000_123, intervals: intervals.collect() }
    }

    #[test]
    fn a_log_comes_back_as_it_was() {
        let log = sample();
        let text = write(&log, "a run").unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]\n#a run\n"));
        assert_eq!(text.lines().filter(|line| line.starts_with("Tag=produce,")).count(), 3);
        assert_eq!(read(&text).unwrap(), log);
        assert_eq!(log.tags(), ["produce", "end_to_end"]);
        assert_eq!(log.total("produce").len(), 3000);
    }

    #[test]
    fn a_damaged_log_is_refused() {
        let text = write(&sample(), "a run").unwrap();
        assert!(read(&text.replacen("HISTF", "HISTG", 1)).is_err_and(|error| error.contains("at 0 ms")));
        assert!(read("Tag=x,what").is_err());
        let odd = IntervalLog {
            intervals: vec![Interval { tag: "a b".into(), ..sample().intervals.remove(0) }],
            ..sample()
        };
        assert!(write(&odd, "").unwrap_err().contains("cannot be a tag"));
    }
}
