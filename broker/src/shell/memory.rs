//! How the memory that there is gets shared out. Nothing is taken before it is needed.

use super::StartError;

/// Share that requests in flight may take, percent.
const REQUEST_MEMORY_PERCENT: u64 = 16;

/// Share that the ends of logs take by default, for readers that are not far behind, percent. Segments are written past
/// the page cache, so this is what the page cache is to other brokers.
pub const TAIL_MEMORY_PERCENT: u64 = 25;

/// What is assumed where nothing tells, bytes.
const MEMORY_UNKNOWN: u64 = 4 << 30;

/// A shard gets no less of either, bytes.
const SHARE_BYTES_MIN: u64 = 64 << 20;

/// The memory of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    bytes: u64,
    shards: u64,
}

impl Memory {
    /// That of this machine, or of the control group if that allows less.
    pub fn of_machine(shards: usize) -> Memory {
        let machine = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total);
        let bytes = machine.unwrap_or(MEMORY_UNKNOWN);
        let bytes = super::cgroup::memory_bytes().map_or(bytes, |limit| bytes.min(limit));
        Memory { bytes, shards: shards as u64 }
    }

    /// What requests in flight may take on a shard.
    pub fn request_bytes_max(self) -> usize {
        self.share(REQUEST_MEMORY_PERCENT) as usize
    }

    /// What the ends of logs may take on a shard.
    pub fn tail_cache_bytes(self, percent: u64) -> u64 {
        self.share(percent)
    }

    fn share(self, percent: u64) -> u64 {
        (self.bytes / 100 * percent / self.shards).max(SHARE_BYTES_MIN)
    }
}

/// Gives this process small pages only. The first touch of a huge one clears 2 MiB in the middle of a turn: 100 µs on the
/// best of machines, and up to 8 ms were seen on a virtual one that had to get the memory from its host first.
pub fn refuse_huge_pages() -> Result<(), StartError> {
    // SAFETY: a flag of this process; the arguments that it does not use are zero, as it asks for.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(StartError(format!(
        "transparent huge pages cannot be switched off ({error}): allow prctl in the seccomp profile"
    )))
}

/// What /proc/meminfo says of the whole, bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_among_shards_down_to_a_least_share() {
        let memory = Memory { bytes: 100 << 30, shards: 10 };
        assert_eq!(memory.tail_cache_bytes(20), 2 << 30);
        assert_eq!(memory.request_bytes_max(), 16 * (100 << 30) / 100 / 10);
        assert_eq!(Memory { bytes: 1 << 30, shards: 64 }.tail_cache_bytes(20), SHARE_BYTES_MIN);
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24 kB\n"), Some(24 << 10));
        assert_eq!(total("MemTotal: much"), None);
    }
}
