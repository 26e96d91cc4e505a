//! How far behind consumer groups are: what they have committed, as the shards of their coordinators know it, against the
//! ends of the logs, as the shards of the partitions know them. No shard knows both, so both are brought together here,
//! by whoever has a list of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Committed offsets that one shard tells of; so many are copied in half a millisecond. A group is told of whole or not
/// at all, unless it alone has more.
pub const COMMITTED_MAX: usize = 5_000;

/// Ends of logs that one shard tells of.
pub const ENDS_MAX: usize = 5_000;

/// What a group has committed for a topic, on the shard of its coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The group.
    pub group: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Members it has.
    pub members: usize,
    /// The topic.
    pub topic: Arc<str>,
    /// `(partition, offset)`, in order.
    pub offsets: Vec<(i32, i64)>,
}

/// Where the logs of a topic end that a shard leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The topic.
    pub topic: Arc<str>,
    /// `(partition, high watermark)`.
    pub high_watermarks: Vec<(i32, i64)>,
}

/// What a shard tells once a second while somebody wants to know.
#[derive(Clone, Default, Debug)]
pub struct LagSheet {
    /// What the groups have committed that it coordinates.
    pub committed: Vec<Committed>,
    /// Groups that had no room.
    pub left_out: usize,
    /// The topics that it was asked for.
    pub wanted: Arc<BTreeSet<Arc<str>>>,
    /// Where those of them end that it leads.
    pub ends: Vec<Ends>,
}

/// A group's lag in a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    /// The group.
    pub group: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Members it has.
    pub members: usize,
    /// The topic.
    pub topic: Arc<str>,
    /// Partitions with a committed offset.
    pub partitions: usize,
    /// Records behind the committed offsets, of all of them.
    pub records: u64,
    /// The partition that is the farthest behind.
    pub worst_partition: i32,
    /// By how many records.
    pub worst_records: u64,
}

/// The topics that groups have committed offsets for.
pub fn wanted<'a>(sheets: impl Iterator<Item = &'a LagSheet>) -> BTreeSet<Arc<str>> {
    sheets.flat_map(|sheet| &sheet.committed).map(|committed| Arc::clone(&committed.topic)).collect()
}

/// The lag of every group and topic, the largest first. Partitions whose end no shard tells (theirs was deleted) do not
/// count.
pub fn lags<'a>(sheets: impl Iterator<Item = &'a LagSheet> + Clone) -> Vec<Lag> {
    let mut ends: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for of_topic in sheets.clone().flat_map(|sheet| &sheet.ends) {
        let of_partitions = of_topic.high_watermarks.iter();
        ends.extend(of_partitions.map(|(partition, end)| ((&*of_topic.topic, *partition), *end)));
    }
    let mut lags: Vec<Lag> = sheets.flat_map(|sheet| &sheet.committed).map(|one| lag(one, &ends)).collect();
    lags.retain(|lag| lag.partitions > 0);
    lags.sort_by(|a, b| {
        b.records.cmp(&a.records).then_with(|| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)))
    });
    lags
}

fn lag(committed: &Committed, ends: &BTreeMap<(&str, i32), i64>) -> Lag {
    let behind = committed.offsets.iter().filter_map(|(partition, offset)| {
        let end = ends.get(&(&*committed.topic, *partition))?;
        // Both were read at moments of their own; and an offset may be committed beyond the end.
        Some((*partition, u64::try_from(end - offset).unwrap_or(0)))
    });
    let behind: Vec<(i32, u64)> = behind.collect();
    let worst = behind.iter().copied().reduce(|worst, other| if other.1 > worst.1 { other } else { worst });
    let (worst_partition, worst_records) = worst.unwrap_or((-1, 0));
    Lag {
        group: Arc::clone(&committed.group),
        state: committed.state,
        members: committed.members,
        topic: Arc::clone(&committed.topic),
        partitions: behind.len(),
        records: behind.iter().map(|(_, records)| records).sum(),
        worst_partition,
        worst_records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(group: &str, topic: &str, offsets: &[(i32, i64)]) -> Committed {
        let (group, topic) = (group.into(), topic.into());
        Committed { group, state: "Stable", members: 1, topic, offsets: offsets.into() }
    }

    #[test]
    fn a_lag_is_what_lies_between_two_shards() {
        let orders: Arc<str> = "orders".into();
        let first = LagSheet {
            committed: vec![
                committed("slow", "orders", &[(0, 10), (1, 90), (2, 70)]),
                committed("gone", "deleted", &[(0, 5)]),
            ],
            ends: vec![Ends { topic: orders.clone(), high_watermarks: vec![(0, 100)] }],
            ..LagSheet::default()
        };
        let second = LagSheet {
            // One offset is beyond the end, as a client may commit it.
            committed: vec![committed("ahead", "orders", &[(0, 95), (2, 120)])],
            ends: vec![Ends { topic: orders, high_watermarks: vec![(1, 100), (2, 100)] }],
            ..LagSheet::default()
        };
        let sheets = [first, second];
        assert_eq!(
            wanted(sheets.iter()).iter().map(|topic| &**topic).collect::<Vec<_>>(),
            ["deleted", "orders"]
        );
        let lags = lags(sheets.iter());
        let told: Vec<_> = lags
            .iter()
            .map(|lag| (&*lag.group, lag.partitions, lag.records, lag.worst_partition, lag.worst_records))
            .collect();
        assert_eq!(told, [("slow", 3, 130, 0, 90), ("ahead", 2, 5, 0, 5)]);
    }
}
