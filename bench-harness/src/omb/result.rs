//! OMB's result file. Its lists have one entry for each ten seconds.
//!
//! `publishLatency` is our response, which counts from the intended time; OMB's own counts from the send and puts the delay
//! before it into `publishDelayLatency`, where our generator lag stands. With an open loop that is never late both are the
//! same. Milliseconds, but for the delay, which OMB gives in microseconds.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::outcome::{Measure, Outcome};
use crate::statistics::merge;

use super::workload::OmbWorkload;

/// Length of one entry of the lists.
const PERIOD_SECONDS: f64 = 10.0;

/// Names of percentiles in OMB's fields.
const PERCENTILES: [(f64, &str); 6] = [
    (50.0, "50pct"),
    (75.0, "75pct"),
    (95.0, "95pct"),
    (99.0, "99pct"),
    (99.9, "999pct"),
    (99.99, "9999pct"),
];

/// Measure, name, and nanoseconds in the unit.
const LATENCIES: [(Measure, &str, f64); 3] = [
    (Measure::Produce, "PublishLatency", 1e6),
    (Measure::GeneratorLag, "PublishDelayLatency", 1e3),
    (Measure::EndToEnd, "EndToEndLatency", 1e6),
];

/// The text of the file.
pub fn render(omb: &OmbWorkload, driver: &str, outcome: &Outcome) -> Result<String, String> {
    let mut out = Map::new();
    out.insert("workload".to_owned(), json!(omb.name));
    out.insert("driver".to_owned(), json!(driver));
    out.insert("messageSize".to_owned(), json!(omb.message_size));
    out.insert("topics".to_owned(), json!(omb.topics));
    out.insert("partitions".to_owned(), json!(omb.partitions_per_topic));
    out.insert("producersPerTopic".to_owned(), json!(omb.producers_per_topic));
    out.insert("consumersPerTopic".to_owned(), json!(omb.consumer_per_subscription));
    periods(&mut out, omb, outcome)?;
    for (measure, name, unit) in LATENCIES {
        let total = merge(outcome.histograms.get(&measure));
        for (field, value) in fields(&total, unit) {
            out.insert(format!("aggregated{name}{field}"), value);
        }
        out.insert(format!("aggregated{name}Quantiles"), quantiles(&total, unit));
    }
    serde_json::to_string_pretty(&Value::Object(out))
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

/// The lists.
fn periods(out: &mut Map<String, Value>, omb: &OmbWorkload, outcome: &Outcome) -> Result<(), String> {
    let interval_s = outcome.intervals.first().map_or(1.0, |interval| interval.length_s.max(0.001));
    let per_period = (PERIOD_SECONDS / interval_s).round().max(1.0) as usize;
    let mut backlog = 0i64;
    for intervals in outcome.intervals.chunks(per_period) {
        let seconds: f64 = intervals.iter().map(|interval| interval.length_s).sum();
        let sum =
            |count: fn(&crate::outcome::Flow) -> u64| intervals.iter().map(|i| count(&i.flow)).sum::<u64>();
        let (acked, received) = (sum(|flow| flow.acked_records), sum(|flow| flow.received_records));
        backlog += acked as i64 * omb.subscriptions_per_topic as i64 - received as i64;
        push(out, "publishRate", json!(acked as f64 / seconds));
        push(out, "publishErrorRate", json!(outcome.counts.failed_total() as f64 / outcome.measured_seconds));
        push(out, "consumeRate", json!(received as f64 / seconds));
        push(out, "backlog", json!(backlog.max(0)));
        for (measure, name, unit) in LATENCIES {
            let parts = intervals.iter().filter_map(|interval| interval.histogram(measure).transpose());
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let name = lower(name);
            for (field, value) in fields(&merge(&parts), unit) {
                push(out, &format!("{name}{field}"), value);
            }
        }
    }
    Ok(())
}

fn push(out: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = out.entry(name).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

/// Average, percentiles and maximum.
fn fields(histogram: &Histogram<u64>, unit: f64) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("Avg", json!(histogram.mean() / unit))];
    for (percentile, name) in PERCENTILES {
        fields.push((name, json!(histogram.value_at_percentile(percentile) as f64 / unit)));
    }
    fields.push(("Max", json!(histogram.max() as f64 / unit)));
    fields
}

/// The whole curve: percentile to value.
fn quantiles(histogram: &Histogram<u64>, unit: f64) -> Value {
    let points = histogram.iter_quantiles(100).map(|step| {
        let value = step.value_iterated_to() as f64 / unit;
        (format!("{}", step.quantile_iterated_to() * 100.0), json!(value))
    });
    Value::Object(points.collect())
}

fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::synthetic::{Shape, outcome};

    #[test]
    fn the_result_has_the_fields_that_charts_read() {
        let omb = OmbWorkload::parse(
            "name: w\ntopics: 1\npartitionsPerTopic: 1\nmessageSize: 1024\nsubscriptionsPerTopic: 1\nproducersPerTopic: 1\n\
             consumerPerSubscription: 1\nproducerRate: 100\ntestDurationMinutes: 1\n",
        )
        .unwrap();
        let shape = Shape { median_ns: 2e6, sigma: 0.2, stall_ns: 0, seconds: 25, rate: 100, seed: 3 };
        let text = render(&omb, "Kafka", &outcome(shape)).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["publishRate"], json!([100.0, 100.0, 100.0]));
        for list in
            ["publishLatency999pct", "publishDelayLatencyMax", "endToEndLatencyAvg", "backlog", "consumeRate"]
        {
            assert_eq!(json[list].as_array().unwrap().len(), 3, "{list}");
        }
        let median = json["aggregatedPublishLatency50pct"].as_f64().unwrap();
        assert!((1.8..2.2).contains(&median), "{median} ms");
        let delay = json["aggregatedPublishDelayLatency50pct"].as_f64().unwrap();
        assert!((10.0..20.0).contains(&delay), "{delay} µs");
        assert!(json["aggregatedEndToEndLatencyQuantiles"].as_object().unwrap().contains_key("100"));
        assert_eq!((json["workload"].as_str(), json["driver"].as_str()), (Some("w"), Some("Kafka")));
    }
}
