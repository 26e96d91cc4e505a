//! What the machine must give before executors can start. Every refusal names its remedy.

use std::io;

use super::StartError;

/// Memory that an executor registers for its rings and buffers, bytes; the kernel charges about three times that.
pub const IO_MEMORY: u64 = 1 << 20;

/// Below this an executor does not start.
const IO_MEMORY_MIN: u64 = 512 << 10;

/// What is charged to RLIMIT_MEMLOCK for each byte of I/O memory.
const CHARGE: u64 = 3;

/// Open files that a broker needs at least: listeners, rings, WAL files, and some clients.
const FILES_MIN: u64 = 512;

/// What the machine gives.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// For each executor, bytes.
    pub io_memory: usize,
    /// RLIMIT_NOFILE after it was raised as far as allowed.
    pub files_max: u64,
}

/// Finds out what the machine gives to a broker with that many executors.
pub fn check(executors: u64) -> Result<Host, StartError> {
    check_io_uring()?;
    let io_memory = check_locked_memory(executors)?;
    let files_max = raise_files()?;
    Ok(Host { io_memory, files_max })
}

fn check_io_uring() -> Result<(), StartError> {
    // struct io_uring_params has 120 bytes, all of which may be zero.
    let mut params = [0u64; 15];
    // SAFETY: one entry, and `params` is valid for reads and writes for as long as the call takes.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd >= 0 {
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
        unsafe { libc::close(fd as i32) };
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(StartError(refusal(&error, switched_off(), filtered())))
}

/// Who refuses io_uring, and what to do about it.
fn refusal(error: &io::Error, switched_off: bool, filtered: bool) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if switched_off => format!(
            "io_uring is switched off ({error}): allow it with `sysctl -w kernel.io_uring_disabled=0`, on the host if this \
             is a container"
        ),
        // Container engines answer with either: some have their filter say that there is no such call.
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if filtered => format!(
            "io_uring is refused by a seccomp filter ({error}): start the container with --security-opt \
             seccomp=unconfined (docker and podman), or with a profile that permits io_uring_setup, io_uring_enter and \
             io_uring_register"
        ),
        Some(libc::ENOSYS) => {
            format!(
                "the kernel has no io_uring ({error}): Linux 5.13 or later, built with CONFIG_IO_URING, is needed"
            )
        }
        Some(libc::ENOMEM) => {
            format!("io_uring finds no memory ({error}): raise `ulimit -l` (RLIMIT_MEMLOCK)")
        }
        _ => format!("io_uring cannot be used: {error}"),
    }
}

/// Kernels before 6.6 have no such switch.
fn switched_off() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() != "0")
}

/// Whether a seccomp filter is in force for this process.
fn filtered() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|n| n.trim() == "2"))
    })
}

fn check_locked_memory(executors: u64) -> Result<usize, StartError> {
    let limit = limit_of(libc::RLIMIT_MEMLOCK)?.rlim_cur;
    if limit == libc::RLIM_INFINITY || may_lock_memory() {
        return Ok(IO_MEMORY as usize);
    }
    let share = limit / (executors * CHARGE);
    if share < IO_MEMORY_MIN {
        return Err(StartError(format!(
            "{executors} executors need {} KiB of locked memory, RLIMIT_MEMLOCK allows {} KiB: raise it with \
             `ulimit -l` (LimitMEMLOCK= in a systemd unit), or run fewer shards with --cores",
            (executors * CHARGE * IO_MEMORY_MIN) >> 10,
            limit >> 10
        )));
    }
    Ok(share.min(IO_MEMORY) as usize & !0xfff)
}

/// CAP_IPC_LOCK exempts from RLIMIT_MEMLOCK.
fn may_lock_memory() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    // Where /proc is not there the limit is taken to hold: the worst is a refusal that names it.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1)
}

fn raise_files() -> Result<u64, StartError> {
    let mut limit = limit_of(libc::RLIMIT_NOFILE)?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reads for as long as the call takes.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        limit = limit_of(libc::RLIMIT_NOFILE)?;
    }
    if limit.rlim_cur < FILES_MIN {
        return Err(StartError(format!(
            "this process may open {} files, {FILES_MIN} is the least: raise `ulimit -n` (LimitNOFILE= in a systemd unit)",
            limit.rlim_cur
        )));
    }
    Ok(limit.rlim_cur)
}

fn limit_of(resource: libc::__rlimit_resource_t) -> Result<libc::rlimit, StartError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes for as long as the call takes.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok(limit),
        _ => Err(StartError(format!("resource limits cannot be read: {}", io::Error::last_os_error()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_io_uring_is_named() {
        let check = |errno: i32, switched_off: bool, filtered: bool, part: &str| {
            let text = refusal(&io::Error::from_raw_os_error(errno), switched_off, filtered);
            assert!(text.contains(part), "{text}");
        };
        check(libc::EPERM, true, true, "kernel.io_uring_disabled=0");
        check(libc::EPERM, false, true, "--security-opt seccomp=unconfined");
        check(libc::ENOSYS, false, true, "--security-opt seccomp=unconfined");
        check(libc::ENOSYS, false, false, "CONFIG_IO_URING");
        check(libc::ENOMEM, false, false, "ulimit -l");
        check(libc::EPERM, false, false, "io_uring cannot be used");
    }
}
