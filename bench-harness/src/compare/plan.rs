//! What is run in which order. Rounds take turns (ABAB): whatever drifts on the machine meets both brokers alike.

use crate::plot::units;
use crate::results::Preset;

/// The rate of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Records per second.
    Fixed(f64),
    /// The highest that keeps to the objective, found by search.
    Maximum,
    /// No schedule: so many records on their way at any time.
    Closed(u64),
    /// Written at this many records per second while nobody reads, then read from the first to the last.
    CatchUp(f64),
}

impl Rate {
    /// As in tables.
    pub fn label(self) -> String {
        match self {
            Self::Fixed(rate) if rate.fract() == 0.0 => format!("{}/s", units::count(rate as u64)),
            Self::Fixed(rate) => format!("{}/s", units::rate(rate)),
            Self::Maximum => "maximum".to_owned(),
            Self::Closed(records) => format!("closed loop of {}", units::count(records)),
            Self::CatchUp(rate) => format!("catch-up after {}", Self::Fixed(rate).label()),
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = |number: &str| match number.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
            _ => Err(format!(
                "`{number}` is no rate: records per second, `max`, `closed:RECORDS` or `catch-up:RATE`"
            )),
        };
        match text.split_once(':') {
            None if matches!(text, "max" | "maximum") => Ok(Self::Maximum),
            None => rate(text).map(Self::Fixed),
            Some(("catch-up", number)) => rate(number).map(Self::CatchUp),
            Some(("closed", number)) => match number.parse() {
                Ok(records) if records > 0 => Ok(Self::Closed(records)),
                _ => Err(format!("closed:{number}: so many records are on their way, 1 or more")),
            },
            Some(_) => rate(text).map(Self::Fixed),
        }
    }
}

/// All that is asked for.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Which promises.
    pub presets: Vec<Preset>,
    /// Partitions of the topic.
    pub partitions: Vec<i32>,
    /// Rates, in the order in which they are run.
    pub rates: Vec<Rate>,
    /// How often everything is repeated.
    pub rounds: u32,
    /// How many brokers take turns.
    pub brokers: usize,
}

/// A stretch for which one broker stays up: it begins with an empty directory and ends with its removal.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// From 1.
    pub round: u32,
    /// The promise.
    pub preset: Preset,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Which broker, counted from 0.
    pub broker: usize,
    /// The steps.
    pub rates: Vec<Rate>,
}

/// The stretches in order.
pub fn stretches(matrix: &Matrix) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    for &preset in &matrix.presets {
        for &partitions in &matrix.partitions {
            for round in 1..=matrix.rounds {
                for broker in 0..matrix.brokers {
                    stretches.push(Stretch {
                        round,
                        preset,
                        partitions,
                        broker,
                        rates: matrix.rates.clone(),
                    });
                }
            }
        }
    }
    stretches
}

/// The load in words.
pub fn load_label(partitions: i32, record_bytes: usize) -> String {
    let bytes = match record_bytes {
        kilo if kilo.is_multiple_of(1024) => format!("{} KB", kilo / 1024),
        bytes => format!("{bytes} B"),
    };
    format!("{partitions} partition{}, {bytes}", if partitions == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_take_turns_within_the_same_load() {
        let matrix = Matrix {
            presets: vec![Preset::Durable, Preset::ReplicatedMemory],
            partitions: vec![1, 16],
            rates: vec![Rate::Fixed(1000.0), Rate::Maximum],
            rounds: 2,
            brokers: 2,
        };
        let stretches = stretches(&matrix);
        assert_eq!(stretches.len(), 16);
        let turns: Vec<(usize, u32)> =
            stretches[..4].iter().map(|stretch| (stretch.broker, stretch.round)).collect();
        assert_eq!(turns, [(0, 1), (1, 1), (0, 2), (1, 2)]);
        assert!(
            stretches[..4].iter().all(|stretch| stretch.partitions == 1 && stretch.preset == Preset::Durable)
        );
    }

    #[test]
    fn rates_and_loads_read_well() {
        assert_eq!("max".parse::<Rate>(), Ok(Rate::Maximum));
        assert_eq!("20000".parse::<Rate>().unwrap().label(), "20,000/s");
        assert_eq!(Rate::Fixed(72.0).label(), "72/s");
        assert_eq!("closed:2000".parse::<Rate>().unwrap().label(), "closed loop of 2,000");
        assert_eq!("catch-up:30000".parse::<Rate>().unwrap().label(), "catch-up after 30,000/s");
        assert!("closed:0".parse::<Rate>().unwrap_err().contains("1 or more"));
        assert!("-5".parse::<Rate>().unwrap_err().contains("no rate"));
        assert_eq!(load_label(1, 1024), "1 partition, 1 KB");
        assert_eq!(load_label(16, 100), "16 partitions, 100 B");
    }
}
