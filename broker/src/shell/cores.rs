//! Which cores carry shards.

use std::fmt;
use std::str::FromStr;

/// Most shards a broker can have: `ShardId` and core-direct node ids leave room for this many.
pub const SHARDS_MAX: usize = 1000;

/// Cores named on the command line: `0-3,6`. Sorted, each once, never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreList(Vec<usize>);

impl CoreList {
    /// The cores that this process may run on.
    pub fn allowed() -> Result<CoreList, String> {
        let mut ids: Vec<usize> = core_affinity::get_core_ids()
            .ok_or("the cores that this process may run on cannot be found out (sched_getaffinity)")?
            .into_iter()
            .map(|core| core.id)
            .collect();
        ids.sort_unstable();
        ids.truncate(SHARDS_MAX);
        if ids.is_empty() {
            return Err("this process may run on no core at all".into());
        }
        Ok(CoreList(ids))
    }

    /// Checks that all cores of the list are among `allowed`.
    pub fn check_within(&self, allowed: &CoreList) -> Result<(), String> {
        match self.0.iter().find(|id| !allowed.0.contains(id)) {
            None => Ok(()),
            Some(id) => Err(format!(
                "core {id} of --cores is not one that this process may run on ({allowed}): \
                 choose among those, or widen its cpuset"
            )),
        }
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<CoreList, String> {
        let mut ids = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.trim().split_once('-') {
                Some((first, last)) => (parse_core(first)?, parse_core(last)?),
                None => (parse_core(part)?, parse_core(part)?),
            };
            if first > last {
                return Err(format!("`{}` runs backwards: write the lower core first", part.trim()));
            }
            ids.extend(first..=last);
        }
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a core is named twice".into());
        }
        if ids.len() > SHARDS_MAX {
            return Err(format!("more than {SHARDS_MAX} cores"));
        }
        Ok(CoreList(ids))
    }
}

fn parse_core(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(id) if id < 4096 => Ok(id),
        _ => Err(format!("`{}` is not a core number: write a list like 0-3,6", text.trim())),
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
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

    fn check(text: &str, expect: Result<&str, &str>) {
        match (text.parse::<CoreList>(), expect) {
            (Ok(list), Ok(shown)) => assert_eq!(list.to_string(), shown),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn lists_and_ranges() {
        check("0", Ok("0"));
        check("0-3", Ok("0-3"));
        check("6, 0-1,2", Ok("0-2,6"));
        check("", Err("not a core number"));
        check("3-1", Err("backwards"));
        check("0-2,1", Err("twice"));
        check("0-99999999999", Err("not a core number"));
        check("0-4095", Err("more than 1000"));
    }
}
