//! Where a Monedula's own time went, as its status socket tells it: the stages of produce and fetch on the broker's side,
//! whose means sum to the mean of the whole. Everything is the difference of two readings of what the broker has counted
//! since its start, so nothing is sampled. Pure: `status_socket` brings the answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The form of the broker's answer that is understood here.
const FORM: u32 = 1;

/// The stages of one measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerStages {
    /// The broker's version.
    pub version: String,
    /// Seconds between the two readings, by the broker's clock. Shards hand over what they have once a second, so the time
    /// may begin and end up to a second before the measurement does.
    pub seconds: f64,
    /// `produce` and `fetch`.
    pub apis: Vec<ApiStages>,
}

/// The requests of one API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiStages {
    /// `produce` or `fetch`.
    pub api: String,
    /// From the moment that its bytes could be read until its response was written.
    pub total: Spread,
    /// In order, by name.
    pub stages: Vec<(String, Spread)>,
}

/// A histogram of microseconds as the broker keeps it: buckets 3 % wide, and the exact sum.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Their exact sum.
    pub sum_us: u64,
    /// The highest value of each bucket that has any, and how many it has.
    pub buckets: BTreeMap<u64, u64>,
}

impl Spread {
    /// The exact mean; 0 without values.
    pub fn mean_us(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 }
    }

    /// A value that this share of all does not exceed, to 3 %; 0 without values.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let wanted = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (highest_us, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                return *highest_us;
            }
        }
        self.buckets.keys().next_back().copied().unwrap_or(0)
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_us += other.sum_us;
        for (highest_us, count) in &other.buckets {
            *self.buckets.entry(*highest_us).or_default() += count;
        }
    }

    /// What came after an earlier reading.
    fn since(&self, earlier: &Self) -> Self {
        let before = |highest_us: &u64| earlier.buckets.get(highest_us).copied().unwrap_or(0);
        let buckets = self.buckets.iter().map(|(us, count)| (*us, count.saturating_sub(before(us))));
        Self {
            count: self.count.saturating_sub(earlier.count),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl BrokerStages {
    /// Adds a repetition.
    pub fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        add_apis(&mut self.apis, &other.apis);
    }
}

/// Adds by name; what is not there yet is put at the end.
fn add_apis(sum: &mut Vec<ApiStages>, more: &[ApiStages]) {
    for more in more {
        let Some(have) = sum.iter_mut().find(|have| have.api == more.api) else {
            sum.push(more.clone());
            continue;
        };
        have.total.add(&more.total);
        for (name, spread) in &more.stages {
            match have.stages.iter_mut().find(|(have, _)| have == name) {
                Some((_, have)) => have.add(spread),
                None => have.stages.push((name.clone(), spread.clone())),
            }
        }
    }
}

/// What a broker has counted since its start, all shards together.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its process.
    pub pid: u32,
    version: String,
    /// When the newest sheet of each shard ended, microseconds of the broker's clock.
    ended_us: Vec<u64>,
    apis: Vec<ApiStages>,
}

impl Reading {
    /// Understands an answer to `status`. An error is a clause that says what is wrong with the broker.
    pub fn parse(answer: &str) -> Result<Self, String> {
        let foreign = |what: String| {
            let version = serde_json::from_str::<Versioned>(answer).ok().map(|said| said.version);
            let version = version.map_or(String::new(), |version| format!(" (it is {version})"));
            format!("it speaks another version of the status protocol{version}: {what}")
        };
        if let Ok(Refusal { error }) = serde_json::from_str(answer) {
            return Err(foreign(error));
        }
        let answer: Answer = serde_json::from_str(answer).map_err(|error| foreign(error.to_string()))?;
        if answer.form != FORM {
            return Err(foreign(format!("form {} and not {FORM}", answer.form)));
        }
        if !answer.ledger {
            return Err("it keeps no ledger: `monedula ledger on` starts one".to_owned());
        }
        let mut apis = Vec::new();
        for shard in &answer.shards {
            let of_shard: Vec<ApiStages> = shard.since_start.iter().map(ApiAnswer::stages).collect();
            add_apis(&mut apis, &of_shard);
        }
        let ended_us =
            answer.shards.iter().map(|shard| shard.second.as_ref().map_or(0, |last| last.ended_us));
        Ok(Self { pid: answer.pid, version: answer.version, ended_us: ended_us.collect(), apis })
    }

    /// What came after an earlier reading.
    pub fn since(&self, earlier: &Self) -> Result<BrokerStages, String> {
        if (self.pid, self.ended_us.len()) != (earlier.pid, earlier.ended_us.len()) {
            return Err("it was started anew during the measurement".to_owned());
        }
        let none = Spread::default();
        let of_api = |api: &ApiStages| {
            let before = earlier.apis.iter().find(|before| before.api == api.api);
            let stage_before = |name: &String| {
                let mut stages = before.iter().flat_map(|before| &before.stages);
                stages.find(|(before, _)| before == name).map_or(&none, |(_, spread)| spread)
            };
            ApiStages {
                api: api.api.clone(),
                total: api.total.since(before.map_or(&none, |before| &before.total)),
                stages: api
                    .stages
                    .iter()
                    .map(|(name, spread)| (name.clone(), spread.since(stage_before(name))))
                    .collect(),
            }
        };
        let spans = self.ended_us.iter().zip(&earlier.ended_us).map(|(now, then)| now.saturating_sub(*then));
        let span_us = spans.sum::<u64>() as f64 / self.ended_us.len().max(1) as f64;
        Ok(BrokerStages {
            version: self.version.clone(),
            seconds: span_us / 1e6,
            apis: self.apis.iter().map(of_api).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// What is used of an answer to `status`.
#[derive(Deserialize)]
struct Answer {
    /// Brokers before there was a number speak the first form.
    #[serde(default = "first_form")]
    form: u32,
    version: String,
    pid: u32,
    ledger: bool,
    shards: Vec<ShardAnswer>,
}

fn first_form() -> u32 {
    1
}

#[derive(Deserialize)]
struct ShardAnswer {
    second: Option<SecondAnswer>,
    since_start: Vec<ApiAnswer>,
}

#[derive(Deserialize)]
struct SecondAnswer {
    ended_us: u64,
}

#[derive(Deserialize)]
struct ApiAnswer {
    api: String,
    total: TimesAnswer,
    stages: Vec<StageAnswer>,
}

#[derive(Deserialize)]
struct StageAnswer {
    stage: String,
    #[serde(flatten)]
    times: TimesAnswer,
}

#[derive(Deserialize)]
struct TimesAnswer {
    count: u64,
    sum_us: u64,
    #[serde(default)]
    buckets: Vec<(u64, u64)>,
}

impl ApiAnswer {
    fn stages(&self) -> ApiStages {
        let spread = |times: &TimesAnswer| Spread {
            count: times.count,
            sum_us: times.sum_us,
            buckets: times.buckets.iter().copied().collect(),
        };
        ApiStages {
            api: self.api.clone(),
            total: spread(&self.total),
            stages: self.stages.iter().map(|stage| (stage.stage.clone(), spread(&stage.times))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of two shards, each with `requests` produces of 10 µs parse and 90 µs disk since the start.
    fn answer(pid: u32, ended_us: u64, requests: u64) -> String {
        let times = |us: u64| {
            format!(
                "\"count\": {requests}, \"sum_us\": {}, \"mean_us\": {us}, \"buckets\": [[{us}, {requests}]]",
                us * requests
            )
        };
        let api = format!(
            "{{\"api\": \"produce\", \"total\": {{{}}}, \"stages\": [{{\"stage\": \"parse\", {}}}, {{\"stage\": \"disk\", {}}}]}}",
            times(100),
            times(10),
            times(90)
        );
        let shard =
            format!("{{\"shard\": 0, \"second\": {{\"ended_us\": {ended_us}}}, \"since_start\": [{api}]}}");
        format!("{{\"version\": \"9.9\", \"pid\": {pid}, \"ledger\": true, \"shards\": [{shard}, {shard}]}}")
    }

    fn reading(pid: u32, ended_us: u64, requests: u64) -> Reading {
        Reading::parse(&answer(pid, ended_us, requests)).expect("it is an answer")
    }

    #[test]
    fn what_lies_between_two_readings_sums_to_its_total() {
        let stages = reading(7, 9_000_000, 150).since(&reading(7, 4_000_000, 50)).unwrap();
        assert_eq!((stages.version.as_str(), stages.seconds), ("9.9", 5.0));
        let produce = &stages.apis[0];
        assert_eq!((produce.total.count, produce.total.mean_us()), (200, 100.0));
        let sum: f64 = produce.stages.iter().map(|(_, spread)| spread.mean_us()).sum();
        assert_eq!(sum, produce.total.mean_us());
        assert_eq!(produce.stages[1].1.quantile_us(0.999), 90);

        let mut twice = stages.clone();
        twice.add(&stages);
        assert_eq!((twice.seconds, twice.apis[0].total.count), (10.0, 400));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let error = reading(8, 9, 1).since(&reading(7, 4, 1)).unwrap_err();
        assert!(error.contains("started anew"), "{error}");
        let no_ledger = answer(7, 1, 1).replace("true", "false");
        assert!(Reading::parse(&no_ledger).unwrap_err().contains("monedula ledger on"));
        let newer = answer(7, 1, 1).replace("\"version\"", "\"form\": 2, \"version\"");
        let error = Reading::parse(&newer).unwrap_err();
        assert!(error.contains("another version") && error.contains("9.9"), "{error}");
        assert!(Reading::parse("{\"error\": \"ask `x`\"}").unwrap_err().contains("ask `x`"));
        assert!(Reading::parse("no JSON").unwrap_err().contains("another version"));
    }

    #[test]
    fn quantiles_are_those_of_the_buckets() {
        let spread = Spread { count: 100, sum_us: 1_090, buckets: BTreeMap::from([(10, 99), (100, 1)]) };
        assert_eq!([0.5, 0.99, 0.999].map(|quantile| spread.quantile_us(quantile)), [10, 10, 100]);
        assert_eq!(Spread::default().quantile_us(0.5), 0);
    }
}
