//! A worker's sockets: waiting, reading, and taking what has arrived.

use super::*;

impl Worker {
    /// Waits until something is due or a socket has something.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let now_ns = clock::monotonic_ns();
        let busy =
            self.unread || !(self.dirty.is_empty() && self.readable.is_empty() && self.writing.is_empty());
        let until_ns = if busy || self.busy { now_ns } else { self.next_due_ns(now_ns) };
        if until_ns <= now_ns + SPIN_NS && now_ns < self.polled_ns + POLL_EVERY_NS {
            std::hint::spin_loop();
            return Ok(());
        }
        self.waiter.wait(now_ns, until_ns)?;
        self.polled_ns = clock::monotonic_ns();
        let mut happened = std::mem::take(&mut self.happened);
        happened.extend(self.waiter.happened());
        for what in happened.drain(..) {
            self.take_event(what);
        }
        self.happened = happened;
        Ok(())
    }

    pub(super) fn take_event(&mut self, what: Happened) {
        let index = what.token;
        let link = &mut self.wires[index].link;
        match link.event(what.readable, what.writable, what.ended) {
            Ok(opened) => {
                if link.is_readable() {
                    self.readable.push(index);
                }
                if link.wants_write() {
                    self.writing.push(index);
                }
                if opened {
                    self.opened(index);
                }
            }
            Err(error) => self.lose(index, &error),
        }
    }

    pub(super) fn opened(&mut self, index: usize) {
        self.wires[index].free_since_ns = self.polled_ns;
        match self.wires[index].owner {
            Owner::Producer { index, node } => self.dirty.push_back((index, node)),
            Owner::Consumer { index, node } => self.send_fetch(index, node),
            Owner::Member { .. } => self.members_due_ns = 0,
        }
    }

    pub(super) fn next_due_ns(&self, now_ns: u64) -> u64 {
        let blocked = self.is_blocked && self.workload.queue == QueuePolicy::Block;
        let intended_ns = if blocked { NEVER_NS } else { self.next_intended_ns };
        let lingering_ns = self.lingering.front().map_or(NEVER_NS, |(until, ..)| *until);
        let retry_ns = self.retries.front().map_or(NEVER_NS, |(until, ..)| *until);
        (now_ns + SLEEP_NS_MAX)
            .min(intended_ns)
            .min(lingering_ns)
            .min(retry_ns)
            .min(self.sheet_end_ns)
            .min(self.members_due_ns)
    }

    /// Reads from the sockets that have something.
    pub(super) fn read(&mut self) {
        let mut reads = 0;
        let mut index = 0;
        while index < self.readable.len() && reads < READS_PER_TURN {
            let wire_index = self.readable[index];
            index += 1;
            if !self.wires[wire_index].link.is_readable() {
                continue;
            }
            reads += 1;
            self.generate();
            match self.wires[wire_index].link.read(&mut self.scratch) {
                Ok(bytes) => {
                    self.sheet.requests.bytes_in += bytes as u64;
                    self.take_arrivals(wire_index);
                    if self.wires[wire_index].link.is_readable() {
                        self.readable.push(wire_index);
                    }
                }
                Err(error) => self.lose(wire_index, &error),
            }
        }
        self.readable.drain(..index);
    }

    /// Takes what has arrived on a link.
    pub(super) fn take_arrivals(&mut self, index: usize) {
        let now_ns = clock::monotonic_ns();
        loop {
            let arrived = match self.wires[index].link.take_arrival() {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return,
                Err(error) => return self.lose(index, &error),
            };
            match (self.wires[index].owner, arrived) {
                (
                    Owner::Producer { index: producer, node },
                    Arrived::Response(Response::Produce(response), Tag::Produce { batches, written_ns }),
                ) => {
                    self.produced(producer, (batches, written_ns), response, now_ns);
                    if self.producers[producer].is_ready(node) {
                        self.dirty.push_back((producer, node));
                    }
                }
                (
                    Owner::Producer { index: producer, node },
                    Arrived::Written(Tag::Produce { batches, written_ns }),
                ) => {
                    for batch in batches {
                        self.acknowledge(batch, written_ns, now_ns);
                    }
                    if self.producers[producer].is_ready(node) {
                        self.dirty.push_back((producer, node));
                    }
                }
                (
                    Owner::Consumer { index: consumer, node },
                    Arrived::Response(Response::Fetch(response), Tag::Fetch { sent_ns }),
                ) => {
                    let fetched = self.consumers[consumer].fetched(node, response, &self.layout);
                    if fetched.records {
                        self.unread = true;
                        if sent_ns >= self.measured_from_ns {
                            self.sheet.record(Measure::Fetch, now_ns - sent_ns);
                        }
                    }
                    for code in &fetched.errors {
                        self.count_retry(code.name());
                    }
                    for (_, records) in &fetched.skipped {
                        let name = "removed before they were read".to_owned();
                        *self.sheet.counts.retried.entry(name).or_default() += *records as u64;
                    }
                    if fetched.stale_leaders {
                        self.shared.refresh_wanted.store(true, Relaxed);
                    }
                    match fetched.errors.is_empty() {
                        true => self.send_fetch(consumer, node),
                        false => self.delayed_fetches.push((now_ns + RETRY_NS, consumer, node)),
                    }
                }
                (Owner::Member { index }, Arrived::Response(response, Tag::Group { sent_ns, commit })) => {
                    if commit && sent_ns >= self.measured_from_ns {
                        self.sheet.record(Measure::Commit, now_ns - sent_ns);
                    }
                    self.member_answered(index, response, now_ns);
                }
                (owner, arrived) => unreachable!("{arrived:?} for {owner:?}"),
            }
        }
    }
}
