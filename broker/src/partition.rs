//! A partition as its shard leads it: who waits for its next offsets.
//!
//! With one replica the leader's durable end is the high watermark, so what is acknowledged and what may be read
//! move together.

use std::collections::VecDeque;

use storage::{Offset, PartitionKey, Slot};

use crate::waits::WaitId;

/// A led partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) key: PartitionKey,
    pub(crate) slot: Slot,
    /// Of the metadata record.
    pub(crate) leader_epoch: i32,
    /// Appends in offset order: each waits until the high watermark reaches its end.
    appends: VecDeque<(Offset, WaitId)>,
    /// Fetches that found too little here.
    fetches: Vec<WaitId>,
    /// Moves of the log start that are not durable yet.
    pub(crate) deletes: Vec<(Offset, WaitId, usize)>,
    /// Since it was last taken.
    pub(crate) traffic: Traffic,
}

/// What was appended to a partition and read from it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Traffic {
    pub(crate) batches_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) reads: u64,
    pub(crate) bytes_out: u64,
}

impl Partition {
    pub(crate) fn new(key: PartitionKey, slot: Slot, leader_epoch: i32) -> Partition {
        Partition {
            key,
            slot,
            leader_epoch,
            appends: VecDeque::new(),
            fetches: Vec::new(),
            deletes: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    /// Lets an append wait until `end` is the high watermark.
    pub(crate) fn wait_for_append(&mut self, end: Offset, id: WaitId) {
        // A duplicate of an earlier batch waits for an earlier end, so the queue is kept sorted.
        let place = self.appends.partition_point(|(queued, _)| *queued <= end);
        self.appends.insert(place, (end, id));
    }

    /// The next append that `high_watermark` releases.
    pub(crate) fn released_append(&mut self, high_watermark: Offset) -> Option<WaitId> {
        match self.appends.front() {
            Some((end, id)) if *end <= high_watermark => {
                let id = *id;
                self.appends.pop_front();
                Some(id)
            }
            _ => None,
        }
    }

    /// Lets a fetch wait for data.
    pub(crate) fn wait_for_data(&mut self, id: WaitId) {
        self.fetches.push(id);
    }

    /// The fetches that wait here; they register anew if it is still too little.
    pub(crate) fn take_fetches(&mut self) -> Vec<WaitId> {
        std::mem::take(&mut self.fetches)
    }

    /// Forgets a fetch that was answered.
    pub(crate) fn forget_fetch(&mut self, id: WaitId) {
        self.fetches.retain(|waiting| *waiting != id);
    }

    /// Everything that waits for an append, when there will be no more durability here.
    pub(crate) fn take_appends(&mut self) -> Vec<WaitId> {
        self.appends.drain(..).map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use storage::TopicId;

    use super::*;

    #[test]
    fn the_high_watermark_releases_appends_in_the_order_of_their_ends() {
        let key = PartitionKey { topic_id: TopicId([1; 16]), partition: 0 };
        let mut partition = Partition::new(key, Slot(0), 0);
        partition.wait_for_append(Offset(10), WaitId(1));
        partition.wait_for_append(Offset(20), WaitId(2));
        // A producer that sends its first batch again waits for where that batch ended.
        partition.wait_for_append(Offset(10), WaitId(3));
        assert_eq!(partition.released_append(Offset(9)), None);
        assert_eq!(partition.released_append(Offset(19)), Some(WaitId(1)));
        assert_eq!(partition.released_append(Offset(19)), Some(WaitId(3)));
        assert_eq!(partition.released_append(Offset(19)), None);
        assert_eq!(partition.take_appends(), [WaitId(2)]);
    }
}
