//! How full the volume of the data directory is. While it is short of space no records are taken from clients: what is
//! left is for checkpoints, for metadata and committed offsets, and for the next start.
//!
//! ```text
//! taking ─ less than the reserve is free ─→ refusing ─ an eighth more than the reserve is free ─→ taking
//! ```

/// What is kept free where the config leaves it to the broker, percent of the volume.
const RESERVE_PERCENT: u64 = 5;

/// The most that is kept free where the config leaves it to the broker, bytes.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// Room on the volume, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Free for this process.
    pub free_bytes: u64,
    /// The size of the volume.
    pub total_bytes: u64,
}

/// What is known of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    space: Option<Space>,
    refuses: bool,
}

/// What a measurement has changed, in bytes for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// From here on records are refused.
    Refuses {
        /// What is to be kept free.
        reserve_bytes: u64,
    },
    /// Records are taken again.
    Takes,
}

impl Volume {
    /// The last measurement.
    pub fn space(&self) -> Option<Space> {
        self.space
    }

    /// Whether records of clients are to be refused.
    pub fn refuses_records(&self) -> bool {
        self.refuses
    }

    /// Takes a measurement. `reserve_bytes` is `log.dir.reserve.bytes`: negative leaves it to the broker.
    pub fn measured(&mut self, space: Space, reserve_bytes: i64) -> Option<Change> {
        self.space = Some(space);
        let reserve_bytes = reserve(space, reserve_bytes);
        let enough =
            if self.refuses { reserve_bytes.saturating_add(reserve_bytes / 8) } else { reserve_bytes };
        let refuses = space.free_bytes < enough;
        if std::mem::replace(&mut self.refuses, refuses) == refuses {
            return None;
        }
        Some(if refuses { Change::Refuses { reserve_bytes } } else { Change::Takes })
    }
}

fn reserve(space: Space, reserve_bytes: i64) -> u64 {
    u64::try_from(reserve_bytes)
        .unwrap_or_else(|_| (space.total_bytes / 100 * RESERVE_PERCENT).min(RESERVE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn free(free_bytes: u64) -> Space {
        Space { free_bytes, total_bytes: 10 * GIB }
    }

    #[test]
    fn records_are_refused_below_the_reserve_and_taken_well_above_it() {
        let mut volume = Volume::default();
        assert!(!volume.refuses_records(), "what was not measured is not short");
        assert_eq!(volume.measured(free(1000), 1000), None);
        assert_eq!(volume.measured(free(999), 1000), Some(Change::Refuses { reserve_bytes: 1000 }));
        assert_eq!(volume.measured(free(1124), 1000), None, "not to and fro at the edge");
        assert!(volume.refuses_records());
        assert_eq!(volume.measured(free(1125), 1000), Some(Change::Takes));
        assert!(!volume.refuses_records());
    }

    #[test]
    fn left_to_the_broker_it_is_a_share_with_a_bound() {
        assert_eq!(reserve(free(0), -1), 10 * GIB / 100 * 5);
        assert_eq!(reserve(Space { free_bytes: 0, total_bytes: 1000 * GIB }, -1), GIB);
        assert_eq!(reserve(free(0), 0), 0, "none at all");
    }
}
