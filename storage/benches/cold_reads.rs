//! Ways to get a segment from the disk to a socket: throughput, and what the sending side takes of the CPU.
//! `cargo bench -p monedula-storage --bench cold_reads`
//!
//! A gigabyte goes over one loopback connection whose reader throws it away. *Cold* begins with nothing of the file in the
//! page cache, *hot* with all of it. Each figure is the median of some rounds, in which the ways take turns. The kernel's
//! own threads, which carry out part of a read-ahead, are in nobody's account. The file lies in a directory below the
//! current one, or below `MONEDULA_BENCH_DIR`: the disk is part of what is measured.
#![allow(missing_docs, unsafe_code, clippy::disallowed_methods)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Instant;
use storage::disk::AlignedBuffer;

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 3;

/// What is read and sent at a time.
const PIECE: usize = 1 << 20;

/// What the broker asks the kernel to read ahead of a send: twice what a helper sends in one call.
const AHEAD: usize = 8 << 20;
const HELPED: usize = 4 << 20;

/// Pieces that a second thread may have read and the first not sent.
const QUEUE: usize = 4;

type Send = fn(&Files, &mut TcpStream) -> io::Result<()>;

/// Name, how, and whether the page cache matters to it.
const WAYS: [(&str, Send, bool); 7] = [
    ("sendfile, 4 MiB at a time, read-ahead of 8 MiB (the broker)", sendfile_ahead, true),
    ("sendfile, 1 MiB at a time, the kernel's read-ahead", sendfile, true),
    ("splice through a pipe of 1 MiB", splice, true),
    ("buffered pread of 1 MiB, then send", buffered, true),
    ("O_DIRECT pread of 1 MiB, then send", direct, false),
    ("O_DIRECT pread of 4 MiB, then send", direct_large, false),
    ("O_DIRECT pread of 1 MiB by a second thread, 4 ahead", direct_ahead, false),
];

struct Files {
    buffered: File,
    direct: File,
}

fn main() -> io::Result<()> {
    let parent = std::env::var_os("MONEDULA_BENCH_DIR").map_or_else(|| Path::new(".").into(), PathBuf::from);
    let path = parent.join(format!("monedula-cold-reads-{}", std::process::id()));
    let result = make_file(&path).and_then(|files| measure(&files));
    std::fs::remove_file(&path)?;
    result
}

fn make_file(path: &Path) -> io::Result<Files> {
    let mut file = File::create(path)?;
    let piece: Vec<u8> = (0..PIECE).map(|at| (at * 31 % 251) as u8).collect();
    for _ in 0..BYTES / PIECE {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(Files {
        buffered: File::open(path)?,
        direct: OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?,
    })
}

fn measure(files: &Files) -> io::Result<()> {
    let mut figures = vec![(Vec::new(), Vec::new()); WAYS.len()];
    for _ in 0..ROUNDS {
        for ((_, send, cached), (cold, hot)) in WAYS.iter().zip(&mut figures) {
            forget(&files.buffered)?;
            cold.push(run(files, *send)?);
            if *cached {
                io::copy(&mut &files.buffered, &mut io::sink())?;
                hot.push(run(files, *send)?);
                rewind(&files.buffered)?;
            }
        }
    }
    println!("| 1 GiB over loopback, medians of {ROUNDS} | cold GB/s | CPU-s/GB | hot GB/s | CPU-s/GB |");
    println!("|---|---:|---:|---:|---:|");
    for ((name, _, _), (cold, hot)) in WAYS.iter().zip(figures) {
        println!("| {name} | {} | {} |", show(cold), show(hot));
    }
    Ok(())
}

fn show(mut runs: Vec<(f64, f64)>) -> String {
    if runs.is_empty() {
        return "– | –".to_owned();
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, cpu_s) = runs[runs.len() / 2];
    let gb = BYTES as f64 / 1e9;
    format!("{:.2} | {:.2}", gb / seconds, cpu_s / gb)
}

/// Seconds, and seconds of CPU of all threads but the one that reads.
fn run(files: &Files, send: Send) -> io::Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    let (reader, _) = listener.accept()?;
    let (done, is_done) = channel();
    let sink = std::thread::spawn(move || {
        let result = swallow(reader).map(|()| cpu_s(libc::CLOCK_THREAD_CPUTIME_ID));
        done.send(Instant::now()).expect("the bench waits");
        result
    });
    let (begun, cpu) = (Instant::now(), cpu_s(libc::CLOCK_PROCESS_CPUTIME_ID));
    send(files, &mut socket)?;
    drop(socket);
    let ended = is_done.recv().expect("the reader ends");
    let swallowed = sink.join().expect("the reader does not panic")?;
    let cpu = cpu_s(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu - swallowed;
    Ok((ended.duration_since(begun).as_secs_f64(), cpu))
}

fn swallow(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match socket.read(&mut buffer)? {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, BYTES, "all of it arrives");
    Ok(())
}

fn sendfile_ahead(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    let mut at = 0;
    while at < BYTES {
        advise(&files.buffered, at, AHEAD, libc::POSIX_FADV_WILLNEED)?;
        at += sendfile_once(&files.buffered, socket, at, HELPED)?;
    }
    Ok(())
}

fn sendfile(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    let mut at = 0;
    while at < BYTES {
        at += sendfile_once(&files.buffered, socket, at, PIECE)?;
    }
    Ok(())
}

fn sendfile_once(file: &File, socket: &TcpStream, at: usize, length: usize) -> io::Result<usize> {
    let mut position = at as libc::off_t;
    // SAFETY: both descriptors are borrowed for as long as the call takes, and `position` is valid for writes.
    count(unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut position, length) })
}

fn splice(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    let mut ends = [0; 2];
    // SAFETY: `ends` is valid for two descriptors.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    // SAFETY: both were just opened and belong to nobody else.
    let (out, into) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, PIECE) })?;
    let mut at = 0;
    while at < BYTES {
        let mut position = at as libc::off_t;
        let (file, pipe) = (files.buffered.as_raw_fd(), into.as_raw_fd());
        // SAFETY: the descriptors are borrowed for as long as the call takes, and `position` is valid for writes.
        let read = unsafe { libc::splice(file, &mut position, pipe, std::ptr::null_mut(), PIECE, 0) };
        let mut waiting = count(read)?;
        at += waiting;
        while waiting > 0 {
            let (pipe, socket) = (out.as_raw_fd(), socket.as_raw_fd());
            let none = std::ptr::null_mut();
            // SAFETY: the descriptors are borrowed for as long as the call takes; no positions are given.
            waiting -= count(unsafe { libc::splice(pipe, none, socket, none, waiting, 0) })?;
        }
    }
    Ok(())
}

fn buffered(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    read_and_send(&files.buffered, socket, PIECE)
}

fn direct(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    read_and_send(&files.direct, socket, PIECE)
}

fn direct_large(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    read_and_send(&files.direct, socket, HELPED)
}

fn read_and_send(file: &File, socket: &mut TcpStream, piece: usize) -> io::Result<()> {
    let mut buffer = AlignedBuffer::zeroed(piece);
    for at in (0..BYTES).step_by(piece) {
        file.read_exact_at(buffer.as_mut_slice(), at as u64)?;
        socket.write_all(buffer.as_slice())?;
    }
    Ok(())
}

fn direct_ahead(files: &Files, socket: &mut TcpStream) -> io::Result<()> {
    let file = files.direct.try_clone()?;
    let (full, to_send) = sync_channel::<AlignedBuffer>(QUEUE);
    let (empty, to_fill) = channel();
    for _ in 0..QUEUE + 1 {
        empty.send(AlignedBuffer::zeroed(PIECE)).expect("the other end is here");
    }
    let reader = std::thread::spawn(move || -> io::Result<()> {
        for at in (0..BYTES).step_by(PIECE) {
            let mut buffer: AlignedBuffer = to_fill.recv().expect("buffers come back");
            file.read_exact_at(buffer.as_mut_slice(), at as u64)?;
            full.send(buffer).expect("somebody sends");
        }
        Ok(())
    });
    for buffer in to_send {
        socket.write_all(buffer.as_slice())?;
        // The reader is done when it needs no more.
        drop(empty.send(buffer));
    }
    reader.join().expect("the reader does not panic")
}

/// Takes the file out of the page cache.
fn forget(file: &File) -> io::Result<()> {
    advise(file, 0, BYTES, libc::POSIX_FADV_DONTNEED)
}

fn rewind(mut file: &File) -> io::Result<()> {
    io::Seek::rewind(&mut file)
}

fn advise(file: &File, at: usize, length: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: takes four numbers.
    let error =
        unsafe { libc::posix_fadvise(file.as_raw_fd(), at as libc::off_t, length as libc::off_t, advice) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn cpu_s(clock: libc::clockid_t) -> f64 {
    // SAFETY: timespec is plain data, for which all zeros is a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is valid for writes.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "every Linux has this clock");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn count(result: libc::ssize_t) -> io::Result<usize> {
    match usize::try_from(result) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(count),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
