//! A sorted map made of shared chunks: a clone costs one `Arc` per chunk, a change copies one chunk.
//!
//! Every version of the metadata image holds three of these. With 256 entries a chunk, a change among 100,000 topics copies
//! one chunk and 400 pointers, and two versions are compared by looking only into the chunks that they do not share.

use std::cmp::Ordering;
use std::sync::Arc;

/// The entries of one chunk at most; a chunk that would grow beyond is split in two.
const CHUNK_ENTRIES_MAX: usize = 256;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map whose clones share what did not change.
#[derive(Clone, Debug)]
pub struct ChunkMap<K, V> {
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

/// What one key is in an older and in a newer map. Never both absent.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'a, V> {
    /// Only in the newer map.
    Added(&'a V),
    /// In both, with values that differ.
    Changed(&'a V, &'a V),
    /// Only in the older map.
    Removed(&'a V),
}

impl<K, V> Default for ChunkMap<K, V> {
    fn default() -> Self {
        ChunkMap { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> ChunkMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`, which may be given in a borrowed form that sorts alike.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let chunk = &self.chunks[self.chunk_of(key)?];
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(k, v)| (k, v)))
    }

    /// The entries from `key` on, in order.
    pub fn iter_from<Q>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let first = self.chunk_of(key).unwrap_or(0);
        let skip = match self.chunks.get(first) {
            Some(chunk) => chunk.partition_point(|(k, _)| k.borrow() < key),
            None => 0,
        };
        self.chunks[first..].iter().flat_map(|chunk| chunk.iter()).skip(skip).map(|(k, v)| (k, v))
    }

    /// Sets the value of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(at) = self.chunk_of(&key) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(found) => Some(std::mem::replace(&mut chunk[found].1, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                self.len += 1;
                self.split_if_full(at);
                None
            }
        }
    }

    /// Takes `key` out and returns its value.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let at = self.chunk_of(key)?;
        let found = self.chunks[at].binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let (_, value) = Arc::make_mut(&mut self.chunks[at]).remove(found);
        self.len -= 1;
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
        }
        Some(value)
    }

    fn split_if_full(&mut self, at: usize) {
        if self.chunks[at].len() <= CHUNK_ENTRIES_MAX {
            return;
        }
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        // Ascending keys are the common case (indexes, names with numbers): keep the left chunk nearly full for them.
        let cut = if chunk.len() > 1 { chunk.len() * 3 / 4 } else { 1 };
        let right = chunk.split_off(cut);
        self.chunks.insert(at + 1, Arc::new(right));
    }

    /// The chunk that holds `key` or would take it; none only when the map is empty.
    fn chunk_of<Q>(&self, key: &Q) -> Option<usize>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if self.chunks.is_empty() {
            return None;
        }
        let after = self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key);
        Some(after.saturating_sub(1))
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> ChunkMap<K, V> {
    /// What is different in `newer`, in the order of keys. Chunks that both maps share are not looked into.
    pub fn differences<'a>(older: &'a Self, newer: &'a Self) -> Vec<Difference<'a, V>> {
        let mut found = Vec::new();
        let (mut old, mut new) = (Cursor::new(&older.chunks), Cursor::new(&newer.chunks));
        loop {
            Cursor::skip_shared(&mut old, &mut new);
            match (old.entry(), new.entry()) {
                (None, None) => return found,
                (Some((_, v)), None) => {
                    found.push(Difference::Removed(v));
                    old.next();
                }
                (None, Some((_, v))) => {
                    found.push(Difference::Added(v));
                    new.next();
                }
                (Some((ok, ov)), Some((nk, nv))) => match ok.cmp(nk) {
                    Ordering::Less => {
                        found.push(Difference::Removed(ov));
                        old.next();
                    }
                    Ordering::Greater => {
                        found.push(Difference::Added(nv));
                        new.next();
                    }
                    Ordering::Equal => {
                        if ov != nv {
                            found.push(Difference::Changed(ov, nv));
                        }
                        old.next();
                        new.next();
                    }
                },
            }
        }
    }
}

struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    chunk: usize,
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(chunks: &'a [Chunk<K, V>]) -> Self {
        Cursor { chunks, chunk: 0, at: 0 }
    }

    fn entry(&self) -> Option<&'a (K, V)> {
        self.chunks.get(self.chunk).map(|chunk| &chunk[self.at])
    }

    fn next(&mut self) {
        self.at += 1;
        if self.at == self.chunks[self.chunk].len() {
            self.chunk += 1;
            self.at = 0;
        }
    }

    /// Steps both over chunks that are one and the same; only at their beginnings can that be seen.
    fn skip_shared(old: &mut Self, new: &mut Self) {
        while old.at == 0
            && new.at == 0
            && let (Some(o), Some(n)) = (old.chunks.get(old.chunk), new.chunks.get(new.chunk))
            && Arc::ptr_eq(o, n)
        {
            old.chunk += 1;
            new.chunk += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A small generator of our own, so that a failing run is replayed by its seed.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn it_does_what_a_btree_map_does() {
        for seed in 0..20u64 {
            let mut state = seed;
            let (mut ours, mut model) = (ChunkMap::default(), BTreeMap::new());
            for _ in 0..3_000 {
                let key = next(&mut state) % 1_000;
                if next(&mut state).is_multiple_of(3) {
                    assert_eq!(ours.remove(&key), model.remove(&key), "seed {seed}");
                } else {
                    let value = next(&mut state);
                    assert_eq!(ours.insert(key, value), model.insert(key, value), "seed {seed}");
                }
                assert_eq!(ours.len(), model.len(), "seed {seed}");
            }
            assert!(ours.iter().eq(model.iter()), "seed {seed}");
            for key in [0, 1, 500, 999, 2_000] {
                assert_eq!(ours.get(&key), model.get(&key), "seed {seed}");
                assert!(ours.iter_from(&key).eq(model.range(key..)), "seed {seed}, from {key}");
            }
        }
    }

    #[test]
    fn differences_are_those_of_the_contents() {
        for seed in 0..20u64 {
            let mut state = seed;
            let mut older = ChunkMap::default();
            for key in 0..2_000u64 {
                older.insert(key * 2, 0);
            }
            let mut newer = older.clone();
            let mut touched = BTreeMap::new();
            for _ in 0..50 {
                let key = next(&mut state) % 4_000;
                if key.is_multiple_of(3) {
                    newer.remove(&key);
                } else {
                    newer.insert(key, 1);
                }
                touched.insert(key, (older.get(&key).copied(), newer.get(&key).copied()));
            }
            let expected: Vec<_> = touched
                .keys()
                .filter_map(|key| match (older.get(key), newer.get(key)) {
                    (None, Some(n)) => Some(Difference::Added(n)),
                    (Some(o), None) => Some(Difference::Removed(o)),
                    (Some(o), Some(n)) if o != n => Some(Difference::Changed(o, n)),
                    _ => None,
                })
                .collect();
            assert_eq!(ChunkMap::differences(&older, &newer), expected, "seed {seed}");
        }
    }

    #[test]
    fn a_change_copies_one_chunk_and_shares_the_rest() {
        let mut older = ChunkMap::default();
        for key in 0..100_000u32 {
            older.insert(key, key);
        }
        let mut newer = older.clone();
        newer.insert(50_000, 0);
        let shared = older.chunks.iter().zip(&newer.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared + 1, older.chunks.len());
    }
}
