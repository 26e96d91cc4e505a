//! Which cores brokers and generator get, and what has to be said about it.

use std::fmt;
use std::str::FromStr;

/// With at least so many cores the generator has some of its own.
const CORES_TO_SEPARATE_MIN: usize = 4;

/// A list of cores such as `0-2,5`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no list of cores such as 0-2,5");
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| bad())?;
            let last: usize = last.trim().parse().map_err(|_| bad())?;
            if first > last || last > 4095 {
                return Err(bad());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for &core in &self.0 {
            match parts.last_mut() {
                Some((_, last)) if *last + 1 == core => *last = core,
                _ => parts.push((core, core)),
            }
        }
        let part = |(first, last): &(usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        f.write_str(&parts.iter().map(part).collect::<Vec<_>>().join(","))
    }
}

/// Who gets what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// The cores of either broker.
    pub brokers: Cores,
    /// The cores of the generator.
    pub generator: Cores,
}

impl Division {
    /// As asked for, or by the number of cores that there are: from four on a quarter of them is the generator's alone;
    /// with fewer everybody has all.
    pub fn of(available: &[usize], brokers: Option<Cores>, generator: Option<Cores>) -> Result<Self, String> {
        for core in brokers.iter().chain(&generator).flat_map(|cores| &cores.0) {
            if !available.contains(core) {
                let available = Cores(available.to_vec());
                return Err(format!(
                    "core {core} is not among those that this process may use ({available})"
                ));
            }
        }
        let without = |taken: &Cores| {
            let left: Vec<usize> = available.iter().copied().filter(|core| !taken.0.contains(core)).collect();
            Cores(if left.is_empty() { available.to_vec() } else { left })
        };
        let apart = available.len() >= CORES_TO_SEPARATE_MIN;
        let (brokers, generator) = match (brokers, generator) {
            (Some(brokers), Some(generator)) => (brokers, generator),
            (Some(brokers), None) => (brokers.clone(), without(&brokers)),
            (None, Some(generator)) => (without(&generator), generator),
            (None, None) if apart => {
                let (brokers, generator) = available.split_at(available.len() - available.len() / 4);
                (Cores(brokers.to_vec()), Cores(generator.to_vec()))
            }
            (None, None) => (Cores(available.to_vec()), Cores(available.to_vec())),
        };
        Ok(Self { brokers, generator })
    }

    /// What a reader must know.
    pub fn note(&self, all: usize) -> String {
        let shared: Vec<usize> =
            self.brokers.0.iter().copied().filter(|core| self.generator.0.contains(core)).collect();
        let who = format!(
            "Of {all} cores the broker under test had {} (both brokers the same), the generator {}",
            self.brokers, self.generator
        );
        match shared.is_empty() {
            true => format!("{who}; they shared none. Interrupts and kernel threads ran on any core."),
            false => format!(
                "{who}: they shared {}. Broker and generator competed for CPU, so latencies are higher than on cores of \
                 their own and maxima lower, for both brokers alike.",
                Cores(shared)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn division(
        available: usize,
        brokers: Option<&str>,
        generator: Option<&str>,
    ) -> Result<(String, String), String> {
        let available: Vec<usize> = (0..available).collect();
        let parse = |text: &str| text.parse().unwrap();
        Division::of(&available, brokers.map(parse), generator.map(parse))
            .map(|division| (division.brokers.to_string(), division.generator.to_string()))
    }

    #[test]
    fn lists_of_cores_come_back() {
        let cores: Cores = "5,0-2".parse().unwrap();
        assert_eq!((cores.0.as_slice(), cores.to_string()), ([0, 1, 2, 5].as_slice(), "0-2,5".to_owned()));
        assert!("2-1".parse::<Cores>().is_err() && "".parse::<Cores>().is_err());
    }

    #[test]
    fn the_generator_has_its_own_cores_where_there_are_enough() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(division(2, None, None), pair("0-1", "0-1"));
        assert_eq!(division(8, None, None), pair("0-5", "6-7"));
        assert_eq!(division(2, Some("0"), None), pair("0", "1"));
        assert_eq!(division(2, Some("0-1"), None), pair("0-1", "0-1"));
        assert_eq!(division(4, None, Some("0")), pair("1-3", "0"));
        assert!(division(2, Some("3"), None).unwrap_err().contains("core 3"));
    }

    #[test]
    fn what_is_shared_is_said() {
        let all = Division::of(&[0, 1], None, None).unwrap();
        assert!(all.note(2).contains("shared 0-1"));
        let apart = Division { brokers: Cores(vec![0]), generator: Cores(vec![1]) };
        assert!(apart.note(2).contains("shared none"));
    }
}
