//! Random numbers of the controller: seeded once, so that the same seed gives the same run.

use storage::TopicId;

/// xoshiro256++, seeded with 128 bits.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(super) fn new(seed: u128) -> Random {
        let mut low = seed as u64;
        let mut high = (seed >> 64) as u64 ^ 0x6a09_e667_f3bc_c908;
        Random { state: [splitmix(&mut low), splitmix(&mut high), splitmix(&mut low), splitmix(&mut high)] }
    }

    pub(super) fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    pub(super) fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A version 4 UUID. Like Kafka's, its text does not begin with a dash, which tools would take for an option.
    pub(super) fn topic_id(&mut self) -> TopicId {
        loop {
            let mut bytes = self.u128().to_be_bytes();
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            // The first six bits give the first letter; 62 is the dash.
            if bytes[0] >> 2 != 62 {
                return TopicId(bytes);
            }
        }
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_differ_and_are_never_zero() {
        let mut random = Random::new(7);
        let ids: std::collections::BTreeSet<_> = (0..10_000).map(|_| random.topic_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.0[6] >> 4 == 4 && id.0[0] >> 2 != 62));
    }

    #[test]
    fn both_halves_of_the_seed_count() {
        let first = |seed| Random::new(seed).u64();
        assert_ne!(first(1), first(2));
        assert_ne!(first(1), first(1 | 1 << 100));
    }
}
