//! A worker's consumers: from the fetch to the check of every record.

use super::*;

impl Worker {
    pub(super) fn connect_consumers(&mut self) {
        for index in 0..self.consumers.len() {
            let nodes: Vec<usize> = self.consumers[index].nodes().collect();
            for node in nodes {
                let wires = &mut self.consumer_wires[index];
                if wires.len() <= node {
                    wires.resize(node + 1, None);
                }
                if wires[node].is_none() {
                    wires[node] = Some(self.wires.len());
                    self.open_wire(Owner::Consumer { index, node }, self.layout.nodes[node].address);
                }
            }
        }
    }

    pub(super) fn send_fetch(&mut self, consumer: usize, node: usize) {
        let Some(wire_index) = self.consumer_wires[consumer].get(node).copied().flatten() else { return };
        let subscription = self.consumers[consumer].subscription;
        let now_ns = clock::monotonic_ns();
        let wire = &mut self.wires[wire_index];
        if !wire.link.is_open() || !self.consumers[consumer].wants_fetch(node) {
            return;
        }
        if now_ns < self.shared.consume_from_ns[subscription].load(Relaxed) {
            self.delayed_fetches.push((now_ns + SLEEP_NS_MAX, consumer, node));
            return;
        }
        let version = self.versions.of(ApiKey::Fetch).expect("it was asked for before the run");
        let request = self.consumers[consumer].fetch(node, version, &self.layout, &self.workload.consumers);
        self.sheet.requests.fetch += 1;
        match wire.link.send(version, &Request::Fetch(request), Tag::Fetch { sent_ns: now_ns }) {
            Ok(bytes) => self.sheet.requests.bytes_out += bytes,
            Err(error) => return self.lose(wire_index, &error),
        }
        if wire.link.wants_write() {
            self.writing.push(wire_index);
        }
    }

    /// Looks at some of the records that were fetched.
    pub(super) fn look_at_records(&mut self) {
        if !self.unread {
            return;
        }
        let mut left = RECORDS_READ_PER_TURN;
        for _ in 0..self.consumers.len() {
            let index = self.next_consumer;
            while left > 0 && self.consumers[index].chunk().is_some() {
                left = self.look_at_chunk(index, left);
            }
            if left == 0 {
                return;
            }
            self.next_consumer = (index + 1) % self.consumers.len();
        }
        self.unread = false;
    }

    /// Looks at up to `left` records of the oldest chunk of a consumer. Returns how many may still be looked at.
    pub(super) fn look_at_chunk(&mut self, index: usize, mut left: usize) -> usize {
        let consumer = &mut self.consumers[index];
        let subscription = consumer.subscription;
        let measured = self.consumer_measured[index];
        let Some(chunk) = consumer.chunk() else { return left };
        let mut check = lock(&self.shared.checks[subscription][chunk.partition]);
        let (sheet, measured_from_ns) = (&mut self.sheet, self.measured_from_ns);
        let mut first_seen = 0;
        let done = loop {
            if left == 0 {
                break false;
            }
            let value = match chunk.reader.next_value() {
                Ok(Some((_, value))) => value,
                Ok(None) => break true,
                Err(_) => {
                    sheet.counts.corrupt += 1;
                    break true;
                }
            };
            left -= 1;
            let head = match record::check(value, self.run) {
                Ok(head) => head,
                Err(NotOurs::Corrupt) => {
                    sheet.counts.corrupt += 1;
                    continue;
                }
                Err(NotOurs::Foreign) => {
                    sheet.counts.foreign += 1;
                    continue;
                }
            };
            let now_ns = clock::monotonic_ns();
            match check.observe(head.producer, head.sequence) {
                Seen::InOrder => first_seen += 1,
                Seen::Late => {
                    first_seen += 1;
                    sheet.counts.reordered += 1;
                }
                Seen::Duplicate => {
                    sheet.counts.duplicated += 1;
                    continue;
                }
            }
            sheet.flow.received_records += 1;
            sheet.flow.received_bytes += value.len() as u64;
            if head.intended_ns >= measured_from_ns {
                sheet.counts.received += 1;
                if measured {
                    sheet.counts.negative += u64::from(now_ns < head.intended_ns);
                    sheet.record(Measure::EndToEnd, now_ns.saturating_sub(head.intended_ns));
                }
            }
        };
        drop(check);
        self.shared.received[subscription].fetch_add(first_seen, Relaxed);
        if done {
            consumer.finish_chunk();
            let nodes = self.consumer_wires[index].len();
            (0..nodes).for_each(|node| self.send_fetch(index, node));
        }
        left
    }
}
