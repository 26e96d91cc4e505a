//! Data directories that a broker must not use: each is refused with a remedy, and left as it was.

#![allow(clippy::disallowed_methods, reason = "tests of processes use clocks, files and threads")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use net::ErrorCode;
use net::messages::DescribeLogDirsRequest;
use net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use support::{Broker, PATIENCE, Session, TestDirectory, batch, refusal, start_command};

fn say(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in {error:?}");
    }
}

#[test]
fn locked_by_another_broker() {
    let test = TestDirectory::new("locked");
    let broker = Broker::start(test.path());
    let error = refusal(start_command(test.path()));
    say(&error, &["locked by another process", &format!("(pid {})", broker.pid()), "--data DIR"]);
    assert!(broker.stop().success(), "the other broker did not notice");
}

#[test]
fn of_another_cluster_or_node() {
    let test = TestDirectory::new("cluster");
    assert!(Broker::start(test.path()).stop().success());
    let config = test.path().with_extension("properties");
    std::fs::write(&config, "node.id=7\n").expect("a test can write a file");
    let mut command = start_command(test.path());
    command.arg("--config").arg(&config);
    say(&refusal(command), &["belongs to node", "not to 7", "node.id"]);
    std::fs::remove_file(config).expect("it is there");
}

#[test]
fn of_a_newer_format() {
    let test = TestDirectory::new("newer");
    assert!(Broker::start(test.path()).stop().success());
    let path = test.path().join("vol.meta");
    let mut meta = std::fs::read(&path).expect("it is there");
    let copy = meta.len() / 2;
    meta[8] += 1;
    meta[copy + 8] += 1;
    std::fs::write(&path, &meta).expect("a test can write a file");
    say(&refusal(start_command(test.path())), &["is of format 2", "later one"]);
    assert_eq!(std::fs::read(&path).expect("it is there"), meta, "nothing was changed");
}

#[test]
fn not_a_data_directory() {
    let test = TestDirectory::new("strange");
    std::fs::write(test.path().join("thesis.txt"), "years of work").expect("a test can write a file");
    say(&refusal(start_command(test.path())), &["is not a data directory", "thesis.txt", "--data DIR"]);
    let file = test.path().join("thesis.txt");
    say(&refusal(start_command(&file)), &["is not a directory"]);
    say(&refusal(start_command(&file.join("data"))), &["--data DIR"]);
    say(&refusal(start_command(Path::new("/proc/no/such/place"))), &["cannot be created", "--data DIR"]);
}

#[test]
fn a_port_in_use() {
    let test = TestDirectory::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let on = |flag: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monedula"));
        let other = if flag == "--listen" { "--core-listen" } else { "--listen" };
        command
            .args(["start", flag, &address, other, "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(test.path());
        command
    };
    say(&refusal(on("--listen")), &[&address, "in use", "--listen HOST:PORT"]);
    say(&refusal(on("--core-listen")), &[&address, "in use", "--core-listen HOST:PORT"]);

    // Another broker shares its port among its shards, but not with us.
    let other = TestDirectory::new("other");
    let broker = Broker::start(other.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_monedula"));
    command.args(["start", "--core-listen", "none", "--listen", &broker.address.to_string(), "--data"]);
    command.arg(test.path());
    say(&refusal(command), &["in use"]);
}

#[test]
fn short_of_space_refuses_records_until_there_is_room() {
    let test = TestDirectory::new("space");
    let broker = Broker::start(test.path());
    let mut client = broker.client();
    assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
    assert_eq!(client.produce("t", 0, -1, batch(&[b"before"])), Ok(0));
    let room = client.0.call(4, DescribeLogDirsRequest { topics: None }).expect("it is answered");
    let room = &room.results[0];
    assert!(0 < room.usable_bytes && room.usable_bytes <= room.total_bytes, "{room:?}");

    // More than any volume has.
    reserve(&mut client, Some(&i64::MAX.to_string()));
    until("records are refused", || {
        client.produce("t", 0, -1, batch(&[b"maybe"])) == Err(ErrorCode::KafkaStorageError)
    });
    assert_eq!(client.read_all("t", 0, 0)[0], (0, b"before".to_vec()), "reads go on");

    reserve(&mut client, None);
    until("records are taken again", || client.produce("t", 0, -1, batch(&[b"after"])).is_ok());
    assert_eq!(client.read_all("t", 0, 0).pop().expect("there are records").1, b"after");
    assert!(broker.stop().success());
}

/// Sets `log.dir.reserve.bytes` of all brokers, or removes it.
fn reserve(client: &mut Session, bytes: Option<&str>) {
    const BROKER: i8 = 4;
    let (set, delete) = (0, 1);
    let config = AlterableConfig {
        name: "log.dir.reserve.bytes".into(),
        config_operation: if bytes.is_some() { set } else { delete },
        value: bytes.map(str::to_owned),
    };
    let resource =
        AlterConfigsResource { resource_type: BROKER, resource_name: String::new(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = client.0.call(1, request).expect("it is answered");
    assert_eq!(response.responses[0].error_code, ErrorCode::None, "{response:?}");
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Needs root and mounts: left out with a word where there are none.
mod other_file_systems {
    use super::*;

    struct Mounted<'a>(&'a Path);

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            run("umount", &["-l", self.0.to_str().expect("it is UTF-8")]);
        }
    }

    fn run(program: &str, arguments: &[&str]) -> bool {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn without_direct_io() {
        let test = TestDirectory::new("ramfs");
        let at = test.path().join("mnt");
        std::fs::create_dir(&at).expect("a test can make a directory");
        let at_text = at.to_str().expect("it is UTF-8");
        if !run("mount", &["-t", "ramfs", "ramfs", at_text]) {
            eprintln!("no mounts here: nothing to see");
            return;
        }
        let _mounted = Mounted(&at);
        let data = at.join("data");
        say(&refusal(start_command(&data)), &["has no O_DIRECT", "--allow-buffered-io"]);
        let buffered = || {
            let mut command = start_command(&data);
            command.arg("--allow-buffered-io");
            Broker::start_with(command)
        };
        let broker = buffered();
        assert!(broker.ready_line.contains("(buffered)"), "{}", broker.ready_line);
        let mut client = broker.client();
        assert_eq!(client.create_topic("t", 1, &[]), ErrorCode::None);
        assert_eq!(client.produce("t", 0, -1, batch(&[b"v"])), Ok(0));
        broker.kill();
        let broker = buffered();
        assert_eq!(broker.client().read_all("t", 0, 0), vec![(0, b"v".to_vec())]);
        assert!(broker.stop().success());
    }

    fn mount<'a>(image: &Path, at: &'a Path, mib: u64) -> Option<Mounted<'a>> {
        let file = std::fs::File::create(image).expect("a test can write a file");
        file.set_len(mib << 20).expect("a test can write a file");
        let (image, at_text) = (image.to_str().expect("it is UTF-8"), at.to_str().expect("it is UTF-8"));
        let mounted =
            run("mkfs.ext4", &["-q", "-m", "0", image]) && run("mount", &["-o", "loop", image, at_text]);
        if !mounted {
            eprintln!("no loop mounts here: nothing to see");
        }
        mounted.then_some(Mounted(at))
    }

    #[test]
    fn full_or_read_only() {
        let test = TestDirectory::new("full");
        let at = test.path().join("mnt");
        std::fs::create_dir(&at).expect("a test can make a directory");
        let Some(_mounted) = mount(&test.path().join("image"), &at, 48) else { return };
        let data = at.join("data");
        assert!(Broker::start(&data).stop().success());

        let at_text = at.to_str().expect("it is UTF-8");
        assert!(run("mount", &["-o", "remount,ro", at_text]));
        say(&refusal(start_command(&data)), &["read-only", "--data DIR"]);
        assert!(run("mount", &["-o", "remount,rw", at_text]));

        // Fill what is left, to the last block.
        let mut filler = std::fs::File::create(at.join("filler")).expect("a test can write a file");
        let zeros = vec![0; 1 << 16];
        while std::io::Write::write_all(&mut filler, &zeros).is_ok() {}
        while std::io::Write::write_all(&mut filler, &zeros[..512]).is_ok() {}
        drop(filler);
        let error = refusal(start_command(&data));
        say(&error, &["full", "make room"]);
        std::fs::remove_file(at.join("filler")).expect("it is there");
        assert!(Broker::start(&data).stop().success(), "with room it goes on");
    }
}
