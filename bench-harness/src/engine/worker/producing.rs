//! A worker's producers: from the schedule to the acknowledgement.

use super::*;

impl Worker {
    /// Puts the records that are due into batches.
    pub(super) fn generate(&mut self) {
        for _ in 0..RECORDS_PER_TURN {
            let now_ns = clock::monotonic_ns();
            let intended_ns = self.next_intended_ns;
            if intended_ns > now_ns {
                return;
            }
            // In a closed loop a record is due the moment that there is room for it.
            let intended_ns = if self.records_out_max.is_some() { now_ns } else { intended_ns };
            if intended_ns >= self.generate_until_ns {
                self.next_intended_ns = NEVER_NS;
                if self.batches_out == 0 {
                    self.become_quiet();
                }
                return;
            }
            // The measurement has begun since this turn did: the next turn takes note of it.
            if !self.measuring && intended_ns >= self.shared.measure_from_ns.load(Relaxed) {
                return;
            }
            let is_full = self.buffered_bytes >= self.workload.batching.buffer_bytes;
            if is_full && self.workload.queue == QueuePolicy::Block {
                self.is_blocked = true;
                return;
            }
            if std::mem::take(&mut self.is_blocked) {
                self.blocked_until_ns = now_ns;
            }
            self.next_intended_ns = match self.records_out_max {
                Some(max) if self.records_out + 1 >= max => WHEN_ANSWERED_NS,
                _ => {
                    let schedule = self.schedule.as_mut().expect("a record is due by a schedule");
                    self.start_ns + schedule.next_ns()
                }
            };
            let measured = intended_ns >= self.measured_from_ns;
            self.sheet.counts.intended += u64::from(measured);
            if is_full {
                self.sheet.counts.dropped += u64::from(measured);
                continue;
            }
            self.append(intended_ns, now_ns, measured);
        }
    }

    pub(super) fn append(&mut self, intended_ns: u64, now_ns: u64, measured: bool) {
        let index = match self.workload.arrival {
            // A part of a Poisson process is one only if it is drawn.
            Arrival::Poisson | Arrival::Bursty { .. } if self.producers.len() > 1 => {
                self.random.random_range(0..self.producers.len())
            }
            _ => {
                self.next_producer = (self.next_producer + 1) % self.producers.len();
                self.next_producer
            }
        };
        let value_bytes = self.sizes.next_bytes(&mut self.random);
        let key = self.keys.next_key(&mut self.random);
        if intended_ns < self.blocked_until_ns {
            self.sheet.counts.blocked += u64::from(measured);
        }
        let record = NewRecord {
            intended_ns,
            lag_ns: now_ns.saturating_sub(intended_ns.max(self.blocked_until_ns)),
            key: key.as_ref(),
            value_bytes,
            timestamp_ms: (now_ns / MILLISECOND_NS) as i64 + self.wall_offset_ms,
        };
        let appended = self.producers[index].append(
            &record,
            now_ns,
            &self.workload.batching,
            &mut self.payload,
            &self.layout,
            &mut self.spares,
        );
        self.buffered_bytes += appended.bytes;
        self.records_out += 1;
        if let Some((slot, until_ns)) = appended.lingers {
            self.batches_out += 1;
            if until_ns > now_ns {
                self.lingering.push_back((until_ns, index, slot));
            }
        }
        if let Some(node) = appended.ready_node {
            self.dirty.push_back((index, node));
        }
        self.sheet.counts.sent += u64::from(measured);
        self.sheet.flow.sent_records += 1;
        self.sheet.flow.sent_bytes += value_bytes as u64;
    }

    /// Ends lingers and pauses whose time has come, and opens links again.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some((_, producer, slot)) = self.lingering.pop_front_if(|(until, ..)| *until <= now_ns) {
            if let Some(node) = self.producers[producer].lingered(slot, now_ns, &self.layout) {
                self.dirty.push_back((producer, node));
            }
        }
        while let Some((_, producer, slot)) = self.retries.pop_front_if(|(until, ..)| *until <= now_ns) {
            if let Some(node) = self.producers[producer].unmute(slot, now_ns, &self.layout) {
                self.dirty.push_back((producer, node));
            }
        }
        if self.members_due_ns <= now_ns {
            self.ask_members(now_ns);
        }
        if self.delayed_fetches.iter().any(|(at_ns, ..)| *at_ns <= now_ns) {
            for (at_ns, consumer, node) in std::mem::take(&mut self.delayed_fetches) {
                match at_ns <= now_ns {
                    true => self.send_fetch(consumer, node),
                    false => self.delayed_fetches.push((at_ns, consumer, node)),
                }
            }
        }
        if !self.closed.is_empty() {
            let closed = std::mem::take(&mut self.closed);
            for index in closed {
                match self.wires[index].link.closed_until() {
                    Some(until_ns) if until_ns <= now_ns => self.connect(index, now_ns),
                    Some(_) => self.closed.push(index),
                    None => {}
                }
            }
        }
    }

    /// Sends what is ready and has room in flight.
    pub(super) fn send_requests(&mut self) {
        for _ in 0..self.dirty.len() {
            let Some((producer, node)) = self.dirty.pop_front() else { return };
            self.send_produce(producer, node);
        }
    }

    pub(super) fn send_produce(&mut self, producer: usize, node: usize) {
        if !self.producers[producer].is_ready(node) {
            return;
        }
        let wire_index = self.producer_wire(producer, node);
        loop {
            let now_ns = clock::monotonic_ns();
            let wire = &mut self.wires[wire_index];
            if !wire.link.is_open() || wire.link.in_flight() >= self.workload.batching.max_in_flight {
                // It becomes dirty again when the link opens or a response comes.
                wire.free_since_ns = NEVER_NS;
                return;
            }
            if wire.free_since_ns == NEVER_NS {
                wire.free_since_ns = now_ns;
            }
            let rules = RequestRules {
                batching: &self.workload.batching,
                codec: self.workload.codec,
                layout: &self.layout,
            };
            let taken = &mut self.taken;
            self.producers[producer].take_request(node, now_ns, &rules, &mut self.spare_buffer, taken);
            if taken.is_empty() {
                return;
            }
            let sheet = &mut self.sheet;
            let free_since_ns = wire.free_since_ns;
            let mut topics: Vec<TopicProduceData> = Vec::new();
            let mut last_topic = usize::MAX;
            let mut records = 0;
            let mut batches = Vec::with_capacity(taken.len());
            let written_ns = clock::monotonic_ns();
            for (batch, sealed) in taken.drain(..) {
                if batch.attempts == 1 {
                    let waited_ns = written_ns.saturating_sub(batch.sendable_at_ns().max(free_since_ns));
                    for (intended_ns, lag_ns) in batch.intended_ns.iter().zip(&batch.lag_ns) {
                        if *intended_ns >= self.measured_from_ns {
                            sheet.record(Measure::GeneratorLag, u64::from(*lag_ns) + waited_ns);
                        }
                    }
                }
                records += batch.records();
                sheet.requests.records_per_batch.saturating_record(batch.records());
                let (topic, index) = self.layout.locate(batch.partition);
                if topic != last_topic {
                    let name = self.layout.topics[topic].name.clone();
                    topics.push(TopicProduceData { name, partition_data: Vec::new() });
                    last_topic = topic;
                }
                topics
                    .last_mut()
                    .expect("its topic is there")
                    .partition_data
                    .push(PartitionProduceData { index, records: Some(sealed) });
                batches.push(batch);
            }
            sheet.requests.produce += 1;
            sheet.requests.batches += batches.len() as u64;
            sheet.requests.records_per_request.saturating_record(records);
            let request = Request::Produce(ProduceRequest {
                transactional_id: None,
                acks: self.workload.acks.number(),
                timeout_ms: PRODUCE_TIMEOUT_MS,
                topic_data: topics,
            });
            let version = self.versions.of(ApiKey::Produce).expect("it was asked for before the run");
            match wire.link.send(version, &request, Tag::Produce { batches, written_ns }) {
                Ok(bytes) => sheet.requests.bytes_out += bytes,
                Err(error) => return self.lose(wire_index, &error),
            }
            if wire.link.wants_write() {
                self.writing.push(wire_index);
            }
            if self.workload.acks == Acks::None {
                self.take_arrivals(wire_index);
            }
            self.generate();
        }
    }

    /// Writes another piece to every link that has more.
    pub(super) fn write(&mut self) {
        for index in std::mem::take(&mut self.writing) {
            self.generate();
            if let Err(error) = self.wires[index].link.write() {
                self.lose(index, &error);
                continue;
            }
            if self.workload.acks == Acks::None {
                self.take_arrivals(index);
            }
            if self.wires[index].link.wants_write() {
                self.writing.push(index);
            }
        }
    }

    pub(super) fn producer_wire(&mut self, producer: usize, node: usize) -> usize {
        let wires = &mut self.producer_wires[producer];
        if wires.len() <= node {
            wires.resize(node + 1, None);
        }
        match wires[node] {
            Some(index) => index,
            None => {
                let index = self.wires.len();
                wires[node] = Some(index);
                self.open_wire(Owner::Producer { index: producer, node }, self.layout.nodes[node].address);
                index
            }
        }
    }

    pub(super) fn open_wire(&mut self, owner: Owner, address: SocketAddr) {
        let index = self.wires.len();
        let link = Link::new(Token(index), address);
        self.wires.push(Wire { link, owner, free_since_ns: NEVER_NS });
        self.connect(index, clock::monotonic_ns());
    }

    pub(super) fn connect(&mut self, index: usize, now_ns: u64) {
        if let Err(error) = self.wires[index].link.connect(self.waiter.registry(), now_ns) {
            self.lose(index, &error);
        }
    }

    /// A connection ended: what was in flight is sent again, or fails.
    pub(super) fn lose(&mut self, index: usize, error: &LinkError) {
        let now_ns = clock::monotonic_ns();
        let wire = &mut self.wires[index];
        self.sheet.counts.reconnects += u64::from(wire.link.is_open());
        wire.free_since_ns = NEVER_NS;
        let name = error.name();
        let tags = wire.link.close(now_ns);
        let owner = wire.owner;
        *self.sheet.counts.retried.entry(name.clone()).or_default() += 1;
        self.shared.refresh_wanted.store(true, Relaxed);
        self.closed.push(index);
        for tag in tags {
            match (tag, owner) {
                (Tag::Produce { batches, .. }, Owner::Producer { index, .. }) => {
                    for batch in batches {
                        match self.workload.acks {
                            // Nobody will ever know.
                            Acks::None => self.fail(index, batch, &name),
                            _ => self.retry(index, batch, now_ns, &name),
                        }
                    }
                }
                (Tag::Fetch { .. }, Owner::Consumer { index, node }) => {
                    self.consumers[index].fetch_failed(node);
                }
                // Its member is told below.
                (Tag::Group { .. }, Owner::Member { .. }) => {}
                (tag, owner) => unreachable!("{tag:?} of {owner:?}"),
            }
        }
        match owner {
            Owner::Producer { .. } => {}
            Owner::Consumer { index, node } => self.consumers[index].fetch_failed(node),
            Owner::Member { index } => {
                let (member, _) = self.members[index].as_mut().expect("it is a member");
                member.disconnected(now_ns);
                self.members_due_ns = 0;
            }
        }
    }

    /// Sends a batch again after a pause, unless its time is over.
    pub(super) fn retry(&mut self, producer: usize, batch: Box<Batch>, now_ns: u64, name: &str) {
        let deadline_ns = batch.intended_ns[0] + self.workload.deadline_ms * MILLISECOND_NS;
        // An idempotent producer cannot leave a hole in its sequence: it goes on trying, and the records are late.
        if now_ns > deadline_ns && !self.workload.idempotence {
            self.give_up(producer, batch);
            return;
        }
        *self.sheet.counts.retried.entry(name.to_owned()).or_default() += 1;
        self.sheet.counts.resent += batch.records();
        self.retries.push_back((now_ns + RETRY_NS, producer, batch.slot));
        self.producers[producer].put_back(batch);
    }

    /// A batch failed for good.
    pub(super) fn fail(&mut self, producer: usize, batch: Box<Batch>, name: &str) {
        let measured = self.measured_records(&batch);
        if measured > 0 {
            *self.sheet.counts.failed.entry(name.to_owned()).or_default() += measured;
        }
        self.shared.failed.fetch_add(batch.records(), Relaxed);
        self.producers[producer].excuse(&batch);
        self.finish(batch);
    }

    /// A batch was not acknowledged in time.
    pub(super) fn give_up(&mut self, producer: usize, batch: Box<Batch>) {
        self.sheet.counts.beyond_deadline += self.measured_records(&batch);
        self.shared.failed.fetch_add(batch.records(), Relaxed);
        self.producers[producer].excuse(&batch);
        self.finish(batch);
    }

    pub(super) fn finish(&mut self, batch: Box<Batch>) {
        self.buffered_bytes -= batch.buffer_bytes;
        self.batches_out -= 1;
        self.records_out -= batch.records();
        if self.next_intended_ns == WHEN_ANSWERED_NS {
            self.next_intended_ns = self.start_ns;
        }
        self.spares.give(batch);
        if self.batches_out == 0 && self.next_intended_ns == NEVER_NS {
            self.become_quiet();
        }
    }

    pub(super) fn become_quiet(&mut self) {
        if !std::mem::replace(&mut self.quiet, true) {
            self.shared.quiet_workers.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn measured_records(&self, batch: &Batch) -> u64 {
        batch.intended_ns.iter().filter(|intended| **intended >= self.measured_from_ns).count() as u64
    }

    /// A batch was acknowledged.
    pub(super) fn acknowledge(&mut self, batch: Box<Batch>, written_ns: u64, now_ns: u64) {
        let deadline_ns = self.workload.deadline_ms * MILLISECOND_NS;
        let mut measured = 0;
        for some in batch.intended_ns.chunks(RECORDS_ACKED_PER_TURN) {
            let sheet = &mut self.sheet;
            for intended_ns in some {
                if *intended_ns < self.measured_from_ns {
                    continue;
                }
                let response_ns = now_ns.saturating_sub(*intended_ns);
                if response_ns > deadline_ns {
                    sheet.counts.beyond_deadline += 1;
                    continue;
                }
                measured += 1;
                sheet.record(Measure::Produce, response_ns);
            }
            self.generate();
        }
        let sheet = &mut self.sheet;
        sheet.record_n(Measure::Service, now_ns.saturating_sub(written_ns), measured);
        sheet.counts.acked += measured;
        sheet.flow.acked_records += batch.records();
        sheet.flow.acked_bytes += batch.value_bytes;
        self.shared.acked.fetch_add(batch.records(), Relaxed);
        self.finish(batch);
    }

    pub(super) fn produced(
        &mut self,
        producer: usize,
        tag: (Vec<Box<Batch>>, u64),
        response: ProduceResponse,
        now_ns: u64,
    ) {
        let (batches, written_ns) = tag;
        let mut answers: VecDeque<(usize, PartitionProduceResponse)> = VecDeque::new();
        for topic in response.responses {
            for answer in topic.partition_responses {
                match self.layout.partition(&topic.name, answer.index) {
                    Some(partition) => answers.push_back((partition, answer)),
                    None => self.count_retry("an answer for a partition that was not asked"),
                }
            }
        }
        for batch in batches {
            // Brokers answer in the order of the request; any other is found all the same.
            let at = answers.iter().position(|(partition, _)| *partition == batch.partition);
            let Some((_, answer)) = at.and_then(|at| answers.remove(at)) else {
                self.fail(producer, batch, "no answer for the partition");
                continue;
            };
            match answer.error_code {
                ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                    self.acknowledge(batch, written_ns, now_ns);
                }
                // Behind a batch that is sent again, all are out of order until it is there.
                ErrorCode::OutOfOrderSequenceNumber if self.workload.idempotence => {
                    self.retry(producer, batch, now_ns, answer.error_code.name());
                }
                code if code.is_retriable() => {
                    self.shared.refresh_wanted.store(true, Relaxed);
                    self.retry(producer, batch, now_ns, code.name());
                }
                code => self.fail(producer, batch, code.name()),
            }
        }
    }

    pub(super) fn count_retry(&mut self, name: &str) {
        *self.sheet.counts.retried.entry(name.to_owned()).or_default() += 1;
    }
}
