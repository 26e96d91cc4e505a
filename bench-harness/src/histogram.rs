//! Histograms of nanoseconds: their bounds, and their form in files.
//!
//! All have three significant digits. Those that samples are recorded into reach from 1 ns to an hour and never grow; a
//! longer time counts as an hour. They are merged exactly: the sum of two is the histogram of both their samples.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Deserializer as SerdeDeserializer, Serialize, Serializer as SerdeSerializer};

/// Significant decimal digits.
pub const DIGITS: u8 = 3;
/// The longest time that is told apart: an hour.
pub const NANOSECONDS_MAX: u64 = 3_600_000_000_000;

/// An empty histogram that never grows.
pub fn new() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS).expect("the bounds are valid")
}

/// A time with three or more digits and its unit.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.3} s", ns as f64 / 1e9),
    }
}

/// A histogram as its V2 serialization: a few kilobytes where the histogram takes hundreds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedHistogram(Vec<u8>);

impl EncodedHistogram {
    /// The form of a histogram.
    pub fn encode(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .expect("a histogram of u64 has a V2 form in memory");
        Self(bytes)
    }

    /// The histogram, or why these bytes are none.
    pub fn decode(&self) -> Result<Histogram<u64>, String> {
        Deserializer::new()
            .deserialize(&mut &self.0[..])
            .map_err(|error| format!("not a V2 histogram: {error}"))
    }

    /// The V2 serialization, uncompressed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for EncodedHistogram {
    fn serialize<S: SerdeSerializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for EncodedHistogram {
    fn deserialize<D: SerdeDeserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let encoded = Self(STANDARD.decode(text).map_err(serde::de::Error::custom)?);
        encoded.decode().map_err(serde::de::Error::custom)?;
        Ok(encoded)
    }
}

/// For `#[serde(with = …)]`: a map of histograms, each as base64 of its V2 serialization.
pub mod map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{EncodedHistogram, Histogram};

    /// Writes the map.
    pub fn serialize<K: Serialize + Ord + Clone, S: Serializer>(
        histograms: &BTreeMap<K, Histogram<u64>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let encoded: BTreeMap<K, EncodedHistogram> =
            histograms.iter().map(|(key, value)| (key.clone(), EncodedHistogram::encode(value))).collect();
        encoded.serialize(serializer)
    }

    /// Reads the map.
    pub fn deserialize<'de, K: Deserialize<'de> + Ord, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, Histogram<u64>>, D::Error> {
        let encoded = BTreeMap::<K, EncodedHistogram>::deserialize(deserializer)?;
        encoded
            .into_iter()
            .map(|(key, value)| Ok((key, value.decode().map_err(serde::de::Error::custom)?)))
            .collect()
    }
}

/// For `#[serde(with = …)]`: one histogram, as base64 of its V2 serialization.
pub mod one {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{EncodedHistogram, Histogram};

    /// Writes the histogram.
    pub fn serialize<S: Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        EncodedHistogram::encode(histogram).serialize(serializer)
    }

    /// Reads the histogram.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
        EncodedHistogram::deserialize(deserializer)?.decode().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_from_its_form() {
        let mut histogram = new();
        for sample in [1, 999, 1_234_567, NANOSECONDS_MAX, 5 * NANOSECONDS_MAX] {
            histogram.saturating_record(sample);
        }
        let encoded = EncodedHistogram::encode(&histogram);
        assert_eq!(encoded.decode().unwrap(), histogram);
        let text = serde_json::to_string(&encoded).unwrap();
        assert_eq!(serde_json::from_str::<EncodedHistogram>(&text).unwrap(), encoded);
        assert!(serde_json::from_str::<EncodedHistogram>("\"AAAA\"").is_err());
    }

    #[test]
    fn times_have_units() {
        let times = [999, 1_500, 12_345_678, 61_000_000_000].map(duration);
        assert_eq!(times, ["999 ns", "1.5 µs", "12.35 ms", "61.000 s"]);
    }
}
