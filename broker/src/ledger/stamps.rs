//! The moments of one request, and the stages between them.

/// The requests that are kept account of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Api {
    /// Produce.
    Produce,
    /// Fetch.
    Fetch,
}

/// What lies between two moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Bytes lay in the socket until they were a request: the wait for the shard's turn, and decoding.
    Parse,
    /// On its way to the shard that owns the partitions.
    Route,
    /// Appended, and waiting for the WAL block before it to end.
    Block,
    /// Made ready for the disk.
    Submit,
    /// Written and flushed. With replication its own stage follows here.
    Disk,
    /// Waiting for `min_bytes`, or for a position in a cold segment.
    Wait,
    /// Back to the connection's shard, and encoded.
    Answer,
    /// Waiting for its turn among the responses, and written to the socket.
    Write,
}

/// Stages of one request, at most.
pub const STAGES_MAX: usize = 7;

/// Moments of one request, at most.
pub const MOMENTS_MAX: usize = STAGES_MAX + 1;

const _: () = assert!(Api::Produce.stages().len() == STAGES_MAX && Api::Fetch.stages().len() <= STAGES_MAX);

impl Api {
    /// Both.
    pub const ALL: [Api; 2] = [Api::Produce, Api::Fetch];

    /// The stages of a request, in order.
    #[must_use]
    pub const fn stages(self) -> &'static [Stage] {
        match self {
            Api::Produce => &[
                Stage::Parse,
                Stage::Route,
                Stage::Block,
                Stage::Submit,
                Stage::Disk,
                Stage::Answer,
                Stage::Write,
            ],
            Api::Fetch => &[Stage::Parse, Stage::Route, Stage::Wait, Stage::Answer, Stage::Write],
        }
    }

    /// In lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Api::Produce => "produce",
            Api::Fetch => "fetch",
        }
    }
}

impl Stage {
    /// In lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Route => "route",
            Stage::Block => "block",
            Stage::Submit => "submit",
            Stage::Disk => "disk",
            Stage::Wait => "wait",
            Stage::Answer => "answer",
            Stage::Write => "write",
        }
    }
}

/// What the shard of the connection notes when a request comes in. The default is kept account of by nobody.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Arrival {
    /// Which request, if it is one of those kept account of.
    pub api: Option<Api>,
    /// Size of the request, bytes.
    pub bytes: u32,
    /// When its bytes are known to have been there to read, microseconds.
    pub readable_us: u64,
    /// When it and all others of its turn were decoded, microseconds.
    pub parsed_us: u64,
}

/// What the owner of the partitions notes; zero for what did not happen. Microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Passage {
    /// The turn began its steps in which the owner took the question up.
    pub at_owner_us: u64,
    /// The WAL block was closed that made it durable.
    pub in_block_us: u64,
    /// That block went to the kernel.
    pub submitted_us: u64,
    /// The turn began that learnt of the flush of that block.
    pub durable_us: u64,
    /// A fetch had enough, or its time was over.
    pub found_us: u64,
}

/// Both, as a reply carries them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Trace {
    /// From the connection's shard.
    pub arrival: Arrival,
    /// From the owner that answered last.
    pub passage: Passage,
}

/// All moments of a request that was answered, never going back, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moments {
    api: Api,
    at_us: [u64; MOMENTS_MAX],
}

impl Trace {
    /// The moments of the request, now that its response is written; `None` if it is not kept account of.
    #[must_use]
    pub fn finish(&self, queued_us: u64, written_us: u64) -> Option<Moments> {
        let api = self.arrival.api?;
        let Passage { at_owner_us, in_block_us, submitted_us, durable_us, found_us } = self.passage;
        let (readable, parsed) = (self.arrival.readable_us, self.arrival.parsed_us);
        let mut at_us = match api {
            Api::Produce => {
                [readable, parsed, at_owner_us, in_block_us, submitted_us, durable_us, queued_us, written_us]
            }
            Api::Fetch => [readable, parsed, at_owner_us, found_us, queued_us, written_us, 0, 0],
        };
        // Missing moments are zero. Others may lie a little before the one before them, being read once a turn.
        for place in 1..MOMENTS_MAX {
            at_us[place] = at_us[place].max(at_us[place - 1]);
        }
        Some(Moments { api, at_us })
    }
}

impl Moments {
    /// Which request.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }

    /// When its bytes were there to read.
    #[must_use]
    pub fn readable_us(&self) -> u64 {
        self.at_us[0]
    }

    /// When its response was written.
    #[must_use]
    pub fn written_us(&self) -> u64 {
        self.at_us[MOMENTS_MAX - 1]
    }

    /// From the one to the other.
    #[must_use]
    pub fn total_us(&self) -> u64 {
        self.written_us() - self.readable_us()
    }

    /// How long each stage took, in the order of [`Api::stages`]: they sum to the total.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        let stages = self.api.stages().iter().copied();
        stages.zip(self.at_us.windows(2).map(|pair| pair[1] - pair[0]))
    }

    /// The total without what a fetch waited for data, which is as long as the client wishes.
    #[must_use]
    pub fn own_us(&self) -> u64 {
        let waited = self.stages().find(|(stage, _)| *stage == Stage::Wait).map_or(0, |(_, us)| us);
        self.total_us() - waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(api: Api) -> Arrival {
        Arrival { api: Some(api), bytes: 100, readable_us: 1_000, parsed_us: 1_010 }
    }

    fn stages(moments: &Moments) -> Vec<(&'static str, u64)> {
        moments.stages().map(|(stage, us)| (stage.name(), us)).collect()
    }

    #[test]
    fn the_stages_of_a_produce_lie_between_its_moments() {
        let passage = Passage {
            at_owner_us: 1_015,
            in_block_us: 1_040,
            submitted_us: 1_050,
            durable_us: 1_300,
            found_us: 0,
        };
        let moments = Trace { arrival: arrival(Api::Produce), passage }.finish(1_310, 1_330).expect("kept");
        let expected = [
            ("parse", 10),
            ("route", 5),
            ("block", 25),
            ("submit", 10),
            ("disk", 250),
            ("answer", 10),
            ("write", 20),
        ];
        assert_eq!(stages(&moments), expected);
        assert_eq!(moments.total_us(), 330);
    }

    #[test]
    fn what_did_not_happen_takes_no_time_and_what_went_back_neither() {
        // Refused at once, and its turn began before it was parsed.
        let passage = Passage { at_owner_us: 1_005, ..Passage::default() };
        let moments = Trace { arrival: arrival(Api::Produce), passage }.finish(1_020, 1_030).expect("kept");
        let expected = [
            ("parse", 10),
            ("route", 0),
            ("block", 0),
            ("submit", 0),
            ("disk", 0),
            ("answer", 10),
            ("write", 10),
        ];
        assert_eq!(stages(&moments), expected);
        assert_eq!(Trace::default().finish(1, 2), None, "others are not kept account of");
    }

    #[test]
    fn a_fetch_is_not_slow_because_there_was_nothing_to_read() {
        let passage = Passage { at_owner_us: 1_020, found_us: 501_000, ..Passage::default() };
        let moments = Trace { arrival: arrival(Api::Fetch), passage }.finish(501_010, 501_020).expect("kept");
        let expected = [("parse", 10), ("route", 10), ("wait", 499_980), ("answer", 10), ("write", 10)];
        assert_eq!(stages(&moments), expected);
        assert_eq!((moments.total_us(), moments.own_us()), (500_020, 40));
    }
}
