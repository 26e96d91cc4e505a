//! The names of the invariants, and what a run reports when one of them does not hold.

use std::fmt;

/// An invariant of `README.md`, by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Checker {
    /// What was acknowledged can be read after any allowed crash.
    S1,
    /// Recovery, crash, recovery comes to the same logs as recovery alone.
    S2,
    /// Corruption is neither served nor dropped in silence.
    S3,
    /// A block of a segment is written once.
    S4,
    /// Retention and DeleteRecords keep what policy keeps, and what is deleted stays so.
    S6,
    /// A process does not write to the WAL of an earlier one.
    S7,
    /// An acknowledged write is not lost, crash or none.
    C1,
    /// An idempotent producer has no duplicates and is never out of sequence.
    C2,
    /// Records of one producer in one partition keep their order.
    C3,
    /// A committed offset does not go back.
    C7,
    /// Every request is answered, in order, or its connection is closed.
    C8,
    /// Open work returns to zero when nobody asks for anything.
    C9,
    /// What was once seen at an offset stays there: by a consumer, or by an acknowledgement.
    P1,
    /// After the last fault everybody gets on.
    Progress,
    /// The broker ended itself.
    Panic,
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub checker: Checker,
    /// How.
    pub message: String,
}

impl Violation {
    /// Says how an invariant did not hold.
    pub fn new(checker: Checker, message: impl Into<String>) -> Violation {
        Violation { checker, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.message)
    }
}
