//! What the machine refuses or is short of: a start says so in words, with the remedy, and `--check` says it alone.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Broker, PATIENCE, TestDirectory, output_of, refusal, start_command};

/// Lets the process of a command do something to itself before it becomes the broker.
fn before(command: &mut Command, prepare: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: what is prepared here makes system calls only: no allocation, no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(prepare);
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is valid for reads for as long as the call takes.
    #[allow(unsafe_code)]
    checked(unsafe { libc::setrlimit(resource, &limit) })
}

/// As the default seccomp profiles of container engines do: io_uring_setup fails with that error, the rest goes on.
fn refuse_io_uring(errno: u32) -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let filter = [
        // The number of the system call is the first word of what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32)
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the options take numbers, and `program` with its filter is valid for reads while the call takes.
    #[allow(unsafe_code)]
    unsafe {
        checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        checked(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program))
    }
}

/// Root is exempt from RLIMIT_MEMLOCK by a capability, which this takes away.
fn without_capability_to_lock_memory() {
    const CAP_IPC_LOCK: libc::c_ulong = 14;
    // SAFETY: takes a number. Who may not drop it does not have it.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
    }
}

#[test]
fn io_uring_refused_by_seccomp() {
    // docker's profile answers with the first, podman's with the second.
    for errno in [libc::EPERM, libc::ENOSYS] {
        let test = TestDirectory::new("seccomp");
        let mut command = start_command(test.path());
        before(&mut command, move || refuse_io_uring(errno as u32));
        let error = refusal(command);
        assert!(
            error.contains("io_uring is refused") && error.contains("--security-opt seccomp=unconfined"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "one line, and no backtrace: {error}");
    }
}

#[test]
fn too_little_locked_memory() {
    let test = TestDirectory::new("memlock");
    let mut command = start_command(test.path());
    before(&mut command, || {
        without_capability_to_lock_memory();
        limit(libc::RLIMIT_MEMLOCK, 64 << 10, 64 << 10)
    });
    let error = refusal(command);
    assert!(error.contains("RLIMIT_MEMLOCK allows 64 KiB") && error.contains("LimitMEMLOCK="), "{error}");
}

#[test]
fn too_few_files() {
    let test = TestDirectory::new("nofile");
    let mut command = start_command(test.path());
    before(&mut command, || limit(libc::RLIMIT_NOFILE, 100, 100));
    let error = refusal(command);
    assert!(error.contains("may open 100 files") && error.contains("LimitNOFILE="), "{error}");
}

#[test]
fn the_soft_limit_of_files_is_raised_and_a_low_hard_one_is_worth_a_line() {
    let test = TestDirectory::new("raise");
    let mut command = start_command(test.path());
    command.arg("--check");
    before(&mut command, || limit(libc::RLIMIT_NOFILE, 64, 4000));
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("warn  4000 files may be open"), "{said}");
}

#[test]
fn a_shortage_is_a_warning_and_the_broker_starts() {
    let test = TestDirectory::new("short");
    let mut command = start_command(&test.path().join("data"));
    before(&mut command, || limit(libc::RLIMIT_NOFILE, 1024, 4000));
    let log = test.path().join("log");
    command.stderr(std::fs::File::create(&log).expect("a test can make a file"));
    let broker = Broker::start_with(command);
    assert!(broker.stop().success());
    let log = std::fs::read_to_string(log).expect("it is text");
    assert_eq!(log.matches("4000 files may be open").count(), 1, "{log}");
}

#[test]
fn check_alone_starts_and_makes_nothing() {
    let test = TestDirectory::new("check");
    let data = test.path().join("not/yet");
    let mut command = start_command(&data);
    command.arg("--check");
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for part in ["Linux ", "io_uring", "I/O memory", "files may be open", "quota", "GiB free", "will be made"]
    {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert!(!test.path().join("not").exists(), "a check makes no directory");
    assert_eq!(std::fs::read_dir(test.path()).expect("it is there").count(), 0, "it leaves nothing behind");
    // A clean stop stays one.
    let broker = Broker::start(&data);
    assert!(broker.stop().success());
    let mut command = start_command(&data);
    command.arg("--check");
    assert!(output_of(command).status.success());
    assert!(data.join("node.clean").exists(), "a check is no start");
}

#[test]
fn check_refuses_what_a_start_refuses() {
    let test = TestDirectory::new("check-refuses");
    let mut command = start_command(test.path());
    command.arg("--check");
    before(&mut command, || refuse_io_uring(libc::EPERM as u32));
    assert!(refusal(command).contains("io_uring is refused"));
    let mut command = start_command("/proc/no/such".as_ref());
    command.arg("--check");
    assert!(refusal(command).contains("--data DIR"));
}

#[test]
fn systemd_is_told_of_start_and_stop() {
    let test = TestDirectory::new("notify");
    let path = test.path().join("socket");
    let socket = UnixDatagram::bind(&path).expect("a test can make a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut command = start_command(&test.path().join("data"));
    command.env("NOTIFY_SOCKET", &path);
    let broker = Broker::start_with(command);
    let receive = || {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).expect("the broker speaks");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let ready = receive();
    assert!(ready.starts_with("READY=1\nSTATUS=ready on 127.0.0.1:"), "{ready}");
    assert!(broker.stop().success());
    assert!(receive().starts_with("STOPPING=1"));
}
