//! Sets of cores, in the two forms that Linux writes them: lists (`0-3,6`) and masks (`ff,00000001`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// More cores than any kernel is built for; what asks for more is a slip of the pen.
pub const CORES_MAX: usize = 8192;

/// Cores by number, ascending, each once. May be empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct CpuSet(BTreeSet<usize>);

impl CpuSet {
    /// From a mask as in `smp_affinity`: hexadecimal words of 32 bits with commas between them, the highest first.
    pub fn from_mask(text: &str) -> Result<CpuSet, String> {
        let words: Vec<&str> = text.trim().split(',').collect();
        let mut cores = BTreeSet::new();
        for (index, word) in words.iter().rev().enumerate() {
            let bits = u32::from_str_radix(word, 16)
                .map_err(|_| format!("`{}` is not a mask of cores", text.trim()))?;
            let first = index * 32;
            cores.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| first + bit));
        }
        if cores.last().is_some_and(|last| *last >= CORES_MAX) {
            return Err(format!("the mask names a core beyond {}", CORES_MAX - 1));
        }
        Ok(CpuSet(cores))
    }

    /// The mask that [`from_mask`](CpuSet::from_mask) reads.
    pub fn to_mask(&self) -> String {
        let words = self.0.last().map_or(1, |last| last / 32 + 1);
        let word = |index: usize| -> u32 {
            self.0.range(index * 32..index * 32 + 32).map(|core| 1u32 << (core - index * 32)).sum()
        };
        let mut text = format!("{:x}", word(words - 1));
        for index in (0..words - 1).rev() {
            text.push_str(&format!(",{:08x}", word(index)));
        }
        text
    }

    /// The cores, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that core is one of them.
    pub fn contains(&self, core: usize) -> bool {
        self.0.contains(&core)
    }

    /// Whether all are in `other`, too.
    pub fn is_subset(&self, other: &CpuSet) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Those that are not in `other`.
    pub fn without(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.difference(&other.0).copied().collect())
    }

    /// Those that are in both.
    pub fn both(&self, other: &CpuSet) -> CpuSet {
        CpuSet(self.0.intersection(&other.0).copied().collect())
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cores: I) -> CpuSet {
        CpuSet(cores.into_iter().collect())
    }
}

impl FromStr for CpuSet {
    type Err = String;

    /// Of a list such as `0-3,6`; an empty text is the empty set.
    fn from_str(text: &str) -> Result<CpuSet, String> {
        let text = text.trim();
        let mut cores = BTreeSet::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                return Err(format!("`{part}` runs backwards: write the lower core first"));
            }
            cores.extend(first..=last);
        }
        Ok(CpuSet(cores))
    }
}

fn core(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(core) if core < CORES_MAX => Ok(core),
        _ => Err(format!("`{}` is not a core number: write a list like 0-3,6", text.trim())),
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<usize> = self.iter().collect();
        let mut rest = cores.as_slice();
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = (0..rest.len()).take_while(|&i| rest[i] == first + i).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            separator = ",";
            rest = &rest[run..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        let check = |text: &str, expect: &str| {
            assert_eq!(text.parse::<CpuSet>().map(|set| set.to_string()), Ok(expect.to_owned()), "{text}")
        };
        check("0-3", "0-3");
        check("6, 0-1,2\n", "0-2,6");
        check("", "");
        for (text, part) in [
            ("3-1", "backwards"),
            ("a", "not a core number"),
            ("0-99999999", "not a core number"),
            ("1,,2", "not a core number"),
        ] {
            let error = text.parse::<CpuSet>().expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn masks_are_read_and_written() {
        let check = |mask: &str, list: &str| {
            let set = CpuSet::from_mask(mask).expect(mask);
            assert_eq!(set.to_string(), list);
            assert_eq!(CpuSet::from_mask(&set.to_mask()), Ok(set));
        };
        check("3\n", "0-1");
        check("00000001,80000000", "31-32");
        check("0", "");
        assert_eq!("0,33,64".parse::<CpuSet>().expect("a list").to_mask(), "1,00000002,00000001");
        assert!(CpuSet::from_mask("xyz").is_err());
        assert!(CpuSet::from_mask(&"ffffffff,".repeat(300)).is_err());
    }
}
