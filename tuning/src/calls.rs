//! What no file of text tells, so that the kernel must be asked. A trait, so that a test can answer in its place.

#![allow(clippy::disallowed_methods, reason = "files that are asked, not stored")]
#![allow(unsafe_code, reason = "system calls that nobody wraps; each use is proven where it stands")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Questions to the kernel. None of them changes anything or needs root.
pub trait Calls {
    /// Whether io_uring_setup is let through.
    fn io_uring(&self) -> io::Result<()>;
    /// Whether the clock is disciplined, and how well.
    fn clock(&self) -> io::Result<ClockState>;
    /// Bytes free on the file system of a directory, and its size.
    fn space(&self, directory: &Path) -> io::Result<(u64, u64)>;
    /// Whether files in a directory can be opened with O_DIRECT. Leaves nothing behind.
    fn direct_io(&self, directory: &Path) -> io::Result<()>;
    /// The queues of a network card.
    fn channels(&self, interface: &str) -> io::Result<Channels>;
    /// How many packets a network card has room for until the kernel takes them.
    fn ring(&self, interface: &str) -> io::Result<Ring>;
    /// How a network card gathers interrupts.
    fn coalescing(&self, interface: &str) -> io::Result<Coalescing>;
    /// The limit on idle states that some process holds through /dev/cpu_dma_latency, microseconds. Only root may ask.
    fn dma_latency_us(&self, device: &Path) -> io::Result<i32>;
    /// A path without links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
}

/// What the kernel says of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockState {
    /// Whether something disciplines it.
    pub synchronised: bool,
    /// The largest error that the discipline admits, microseconds.
    pub error_max_us: i64,
}

/// Queues that send and receive, of a network card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channels {
    /// In use.
    pub combined: u32,
    /// The most that the card has.
    pub combined_max: u32,
}

/// Slots for packets that were received, in each queue of a network card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// In use.
    pub rx: u32,
    /// The most that the card has.
    pub rx_max: u32,
}

/// How long a network card may hold an interrupt back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coalescing {
    /// Whether the driver changes the time by itself.
    pub adaptive_rx: bool,
    /// The time, microseconds.
    pub rx_usecs: u32,
}

/// The kernel that runs this program.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Calls for Kernel {
    fn io_uring(&self) -> io::Result<()> {
        // struct io_uring_params has 120 bytes, all of which may be zero.
        let mut params = [0u64; 15];
        // SAFETY: one entry, and `params` is valid for reads and writes for as long as the call takes.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
        unsafe { libc::close(fd as i32) };
        Ok(())
    }

    fn clock(&self) -> io::Result<ClockState> {
        // SAFETY: timex is plain data, for which all zeros is a value: it asks and sets nothing.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: `timex` is valid for reads and writes for as long as the call takes.
        let state = unsafe { libc::adjtimex(&mut timex) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        let unsynchronised = state == libc::TIME_ERROR || timex.status & libc::STA_UNSYNC != 0;
        Ok(ClockState { synchronised: !unsynchronised, error_max_us: timex.maxerror })
    }

    fn space(&self, directory: &Path) -> io::Result<(u64, u64)> {
        let path = c_path(directory)?;
        // SAFETY: statvfs is plain data, for which all zeros is a value.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `path` ends in a zero byte and `stat` is valid for writes; both outlive the call.
        match unsafe { libc::statvfs(path.as_ptr(), &mut stat) } {
            0 => Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn direct_io(&self, directory: &Path) -> io::Result<()> {
        let path = c_path(directory)?;
        // SAFETY: `path` ends in a zero byte and outlives the call.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_TMPFILE | libc::O_RDWR | libc::O_DIRECT, 0o600) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
        unsafe { libc::close(fd) };
        Ok(())
    }

    fn channels(&self, interface: &str) -> io::Result<Channels> {
        // struct ethtool_channels: cmd, max_{rx,tx,other,combined}, {rx,tx,other,combined}_count.
        let mut channels = [0u32; 9];
        ethtool(interface, ETHTOOL_GCHANNELS, &mut channels)?;
        Ok(Channels { combined: channels[8], combined_max: channels[4] })
    }

    fn ring(&self, interface: &str) -> io::Result<Ring> {
        // struct ethtool_ringparam: cmd, {rx,rx_mini,rx_jumbo,tx}_max_pending, {rx,rx_mini,rx_jumbo,tx}_pending.
        let mut ring = [0u32; 9];
        ethtool(interface, ETHTOOL_GRINGPARAM, &mut ring)?;
        Ok(Ring { rx: ring[5], rx_max: ring[1] })
    }

    fn coalescing(&self, interface: &str) -> io::Result<Coalescing> {
        // struct ethtool_coalesce: cmd, rx_coalesce_usecs, ..., the tenth is stats_block_coalesce_usecs and the
        // eleventh use_adaptive_rx_coalesce, of 23 words.
        let mut coalesce = [0u32; 23];
        ethtool(interface, ETHTOOL_GCOALESCE, &mut coalesce)?;
        Ok(Coalescing { adaptive_rx: coalesce[10] != 0, rx_usecs: coalesce[1] })
    }

    fn dma_latency_us(&self, device: &Path) -> io::Result<i32> {
        use std::io::Read;
        let mut bytes = [0; 4];
        std::fs::File::open(device)?.read_exact(&mut bytes)?;
        Ok(i32::from_ne_bytes(bytes))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }
}

const ETHTOOL_GCOALESCE: u32 = 0x0e;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Asks the driver of a network card. `words` is the structure of the command, which begins with its number.
fn ethtool(interface: &str, command: u32, words: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    words[0] = command;
    // SAFETY: ifreq is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: takes no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `request` and the structure it points to are valid for reads and writes; the commands that are
    // asked for write no more than the structure that `words` has the size of.
    let result = unsafe { libc::ioctl(socket, SIOCETHTOOL, &mut request) };
    let error = io::Error::last_os_error();
    // SAFETY: the descriptor is ours and is not used any more.
    unsafe { libc::close(socket) };
    if result < 0 { Err(error) } else { Ok(()) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
