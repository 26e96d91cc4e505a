//! A worker's consumers as members of groups.

use super::*;

impl Worker {
    pub(super) fn connect_members(&mut self) {
        for index in 0..self.members.len() {
            if let Some((_, wire)) = &mut self.members[index] {
                *wire = self.wires.len();
                self.open_wire(Owner::Member { index }, self.layout.nodes[0].address);
            }
        }
    }

    /// Lets every member ask what it has to ask.
    pub(super) fn ask_members(&mut self, now_ns: u64) {
        self.members_due_ns = NEVER_NS;
        for index in 0..self.members.len() {
            let Some((member, wire_index)) = &mut self.members[index] else { continue };
            let wire_index = *wire_index;
            if !self.wires[wire_index].link.is_open() {
                // Opening makes them due.
                continue;
            }
            let positions = self.consumers[index].positions();
            let versions = &self.versions;
            let version_of = |api_key: ApiKey| versions.of(api_key).expect("it was asked for before the run");
            if let Some(request) = member.next_request(now_ns, positions, &self.layout, version_of) {
                let version = version_of(request.api_key());
                let tag = Tag::Group { sent_ns: now_ns, commit: request.api_key() == ApiKey::OffsetCommit };
                if let Err(error) = self.wires[wire_index].link.send(version, &request, tag) {
                    self.lose(wire_index, &error);
                    continue;
                }
                self.writing.push(wire_index);
            }
            let (member, _) = self.members[index].as_ref().expect("it is a member");
            self.members_due_ns = self.members_due_ns.min(member.due_ns());
        }
    }

    pub(super) fn member_answered(&mut self, index: usize, response: Response, now_ns: u64) {
        let (member, wire_index) = self.members[index].as_mut().expect("it is a member");
        let (wire_index, was_in) = (*wire_index, member.generations);
        let effect = member.answered(response, now_ns, &self.layout);
        if member.generations > was_in {
            self.sheet.counts.rebalances += u64::from(was_in > 0);
        }
        self.members_due_ns = 0;
        match effect {
            Effect::None => {}
            Effect::Error(code) => self.count_retry(code.name()),
            Effect::Coordinator(name) => match resolve(&name) {
                Ok(address) if address == self.wires[wire_index].link.address() => {}
                Ok(address) => {
                    let link = &mut self.wires[wire_index].link;
                    link.set_address(address);
                    link.close(now_ns);
                    self.closed.push(wire_index);
                }
                Err(error) => self.count_retry(&error.0),
            },
            Effect::Revoked => self.consumers[index].assign(std::iter::empty(), &self.layout),
            Effect::Assigned(partitions) => {
                self.consumers[index].assign(partitions.into_iter(), &self.layout);
                if !std::mem::replace(&mut self.member_counted[index], true) {
                    self.shared.members_ready.fetch_add(1, Relaxed);
                }
                self.connect_consumers();
                (0..self.layout.nodes.len()).for_each(|node| self.send_fetch(index, node));
            }
        }
    }
}
