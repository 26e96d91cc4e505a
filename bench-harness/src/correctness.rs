//! Whether consumers got what producers were promised: every acknowledged record, once, in order.
//!
//! A producer counts its records to a partition from 0. A consumer sees these numbers and keeps, for each producer and
//! partition, the next one that is due and the ranges that were skipped. What is still skipped at the end was lost, unless
//! the producer was told that it had failed.

use std::collections::BTreeMap;
use std::ops::Range;

/// The most skipped ranges that are remembered for one producer and partition. The oldest is forgotten first, and counts
/// as lost even if it comes later.
pub const SKIPPED_RANGES_MAX: usize = 10_000;

/// What a record turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The next one, or one further on.
    InOrder,
    /// One that was skipped before.
    Late,
    /// One that was here before.
    Duplicate,
}

/// What one subscription has seen of one partition.
#[derive(Debug, Default)]
pub struct PartitionCheck {
    /// By producer, ascending.
    streams: Vec<(u32, Stream)>,
    /// Which of them was seen last: a batch is of one producer.
    last: usize,
}

#[derive(Debug, Default)]
struct Stream {
    due: u64,
    skipped: BTreeMap<u64, u64>,
    /// Records of ranges that were forgotten.
    forgotten: u64,
}

impl PartitionCheck {
    /// Takes note of a record.
    pub fn observe(&mut self, producer: u32, sequence: u64) -> Seen {
        if self.streams.get(self.last).is_none_or(|(id, _)| *id != producer) {
            self.last = match self.streams.binary_search_by_key(&producer, |(id, _)| *id) {
                Ok(index) => index,
                Err(index) => {
                    self.streams.insert(index, (producer, Stream::default()));
                    index
                }
            };
        }
        self.streams[self.last].1.observe(sequence)
    }

    /// Acknowledged records that are missing, of all producers that wrote to the partition.
    pub fn lost<'a>(&self, written: impl Iterator<Item = (u32, &'a Written)>) -> u64 {
        let nothing = Stream::default();
        written
            .map(|(producer, written)| {
                let found = self.streams.binary_search_by_key(&producer, |(id, _)| *id);
                let stream = found.map_or(&nothing, |index| &self.streams[index].1);
                stream.lost(written)
            })
            .sum()
    }
}

impl Stream {
    fn observe(&mut self, sequence: u64) -> Seen {
        if sequence == self.due {
            self.due += 1;
            return Seen::InOrder;
        }
        if sequence > self.due {
            self.skipped.insert(self.due, sequence);
            if self.skipped.len() > SKIPPED_RANGES_MAX
                && let Some((start, end)) = self.skipped.pop_first()
            {
                self.forgotten += end - start;
            }
            self.due = sequence + 1;
            return Seen::InOrder;
        }
        match self.skipped.range(..=sequence).next_back() {
            Some((&start, &end)) if sequence < end => {
                self.skipped.remove(&start);
                if start < sequence {
                    self.skipped.insert(start, sequence);
                }
                if sequence + 1 < end {
                    self.skipped.insert(sequence + 1, end);
                }
                Seen::Late
            }
            _ => Seen::Duplicate,
        }
    }

    fn lost(&self, written: &Written) -> u64 {
        let tail = self.due..written.records.max(self.due);
        let missing = self.skipped.iter().map(|(start, end)| *start..*end).chain([tail]);
        let lost: u64 = missing.map(|range| (range.end - range.start) - written.excused(&range)).sum();
        lost + self.forgotten
    }
}

/// What a producer wrote to a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that got a sequence number.
    pub records: u64,
    /// Those that were never acknowledged: they may be there or not.
    unacknowledged: BTreeMap<u64, u64>,
}

impl Written {
    /// Takes note that these were not acknowledged.
    pub fn excuse(&mut self, mut range: Range<u64>) {
        // Neighbours become one range: after a failure there are usually many in a row.
        if let Some((&start, &end)) = self.unacknowledged.range(..=range.start).next_back()
            && end >= range.start
        {
            range = start..end.max(range.end);
        }
        while let Some((&start, &end)) = self.unacknowledged.range(range.start..=range.end).next() {
            self.unacknowledged.remove(&start);
            range.end = range.end.max(end);
        }
        self.unacknowledged.insert(range.start, range.end);
    }

    /// How many of a range were not acknowledged.
    fn excused(&self, range: &Range<u64>) -> u64 {
        let before = self.unacknowledged.range(..range.start).next_back();
        let within = self.unacknowledged.range(range.start..range.end);
        before
            .into_iter()
            .chain(within)
            .map(|(start, end)| (*end).min(range.end).saturating_sub((*start).max(range.start)))
            .sum()
    }

    /// Records that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.records - self.unacknowledged.iter().map(|(start, end)| end - start).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen of each record (i, l, d) and how many of ten were lost.
    fn check(sequences: &[u64], excused: &[Range<u64>]) -> (String, u64) {
        let mut partition = PartitionCheck::default();
        let seen = sequences
            .iter()
            .map(|sequence| match partition.observe(5, *sequence) {
                Seen::InOrder => 'i',
                Seen::Late => 'l',
                Seen::Duplicate => 'd',
            })
            .collect();
        let mut written = Written { records: 10, ..Written::default() };
        excused.iter().for_each(|range| written.excuse(range.clone()));
        (seen, partition.lost([(5, &written)].into_iter()))
    }

    #[test]
    fn what_consumers_see_is_judged() {
        let all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(check(&all, &[]), ("iiiiiiiiii".into(), 0));
        assert_eq!(check(&all[..7], &[]), ("iiiiiii".into(), 3), "the end is lost");
        assert_eq!(check(&[], &[]), (String::new(), 10), "everything is lost");
        assert_eq!(check(&[0, 1, 5, 6, 7, 8, 9], &[]), ("iiiiiii".into(), 3), "the middle is lost");
        assert_eq!(
            check(&[0, 1, 1, 2, 0, 3, 4, 5, 6, 7, 8, 9], &[]),
            ("iididiiiiiii".into(), 0),
            "two came twice"
        );
        assert_eq!(check(&[0, 2, 1, 3, 4, 5, 6, 7, 8, 9], &[]), ("iiliiiiiii".into(), 0), "one is late");
        assert_eq!(check(&[0, 4, 2, 2, 5, 6, 7, 8, 9], &[]), ("iildiiiii".into(), 2));
    }

    #[test]
    fn what_was_never_acknowledged_cannot_be_lost() {
        assert_eq!(check(&[0, 1, 5, 6, 7], &[2..4, 8..9]).1, 2);
        assert_eq!(check(&[0, 1, 5, 6, 7], &[2..5, 8..10]).1, 0);
        assert_eq!(check(&[0, 1, 5, 6, 7], &[0..5, 5..10]).1, 0);
        assert_eq!(check(&[0, 1, 5, 6, 7], &[4..5, 5..9]).1, 3);
    }

    #[test]
    fn excused_ranges_become_one() {
        let mut written = Written { records: 100, ..Written::default() };
        for start in [10, 14, 12, 30, 20] {
            written.excuse(start..start + 2);
        }
        written.excuse(15..21);
        assert_eq!(written.unacknowledged, BTreeMap::from([(10, 22), (30, 32)]));
        assert_eq!(written.acknowledged(), 86);
    }

    #[test]
    fn producers_are_told_apart() {
        let mut partition = PartitionCheck::default();
        for producer in [9, 3, 9, 5, 3] {
            partition.observe(producer, 0);
        }
        assert_eq!(partition.observe(5, 1), Seen::InOrder);
        assert_eq!(partition.observe(9, 0), Seen::Duplicate);
        let written = Written { records: 2, ..Written::default() };
        assert_eq!(partition.lost([(3, &written), (4, &written), (5, &written)].into_iter()), 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut partition = PartitionCheck::default();
        for sequence in 0..20_000 {
            partition.observe(1, 2 * sequence + 1);
        }
        assert_eq!(partition.streams[0].1.skipped.len(), SKIPPED_RANGES_MAX);
        assert_eq!(partition.observe(1, 0), Seen::Duplicate, "it was forgotten");
        let written = Written { records: 40_000, ..Written::default() };
        assert_eq!(partition.lost([(1, &written)].into_iter()), 20_000, "and counts as lost");
    }
}
