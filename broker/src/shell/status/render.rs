//! Documents as text: for people, 80 columns wide. Pure.

use std::fmt::Write;

use super::document::{GroupLag, Groups, Requests, Shard, SlowReport, SlowRequest, Status, Topic, Turn};

/// The width of a frame of `top`.
const WIDTH: usize = 80;

/// Groups and topics whose lag a frame shows.
const GROUPS_SHOWN: usize = 12;

/// Stalls that a frame names.
const STALLS_SHOWN: usize = 3;

/// Requests that `slow` shows.
const SLOW_SHOWN: usize = 64;

/// One frame of `top`, each line at most 80 columns.
pub fn top(status: &Status) -> Vec<String> {
    let mut lines = head(status);
    if !status.ledger {
        lines.push(String::new());
        lines.push("No ledger is kept, so there are no rates: `monedula ledger on` starts one.".to_owned());
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<7}{:>5}{:>6}{:>5}{:>6}{:>7}{:>6}{:>6}{:>6}{:>7}{:>5}{:>7}{:>6}",
        "shard",
        "cpu%",
        "busy%",
        "wal%",
        "conn",
        "req/s",
        "in/s",
        "out/s",
        "wal/s",
        "flight",
        "mail",
        "dirty",
        "stall"
    ));
    lines.extend(status.shards.iter().map(shard));
    for api in ["produce", "fetch"] {
        lines.extend(stages(status, api));
    }
    lines.extend(status.groups.iter().flat_map(groups));
    if !status.topics.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<32}{:>12}{:>12}{:>12}{:>12}",
            "topic", "batches/s", "in/s", "reads/s", "out/s"
        ));
        lines.extend(status.topics.iter().map(topic));
        if status.topics_left_out > 0 {
            lines.push(format!("and {} more", status.topics_left_out));
        }
    }
    lines.extend(stalls(status));
    lines.into_iter().map(|line| cut(&line, WIDTH)).collect()
}

/// A frame that says why there is none, with what to do about it.
pub fn trouble(why: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in format!("monedula: {}", plain(why)).split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.extend([String::new(), "Trying again each second.".to_owned()]);
    lines
}

fn head(status: &Status) -> Vec<String> {
    let up_s = status.uptime_us / 1_000_000;
    let disk = match &status.disk {
        None => "disk: the kernel keeps no figures of it".to_owned(),
        Some(disk) => format!(
            "disk {}  busy {:.0} %  writes {}/s  written {}B/s  read {}B/s",
            plain(&disk.name),
            disk.utilisation * 100.0,
            short(disk.writes_per_s),
            short(disk.bytes_written_per_s),
            short(disk.bytes_read_per_s)
        ),
    };
    let who = format!(
        "monedula {}  pid {}  up {}:{:02}:{:02}  data {}",
        plain(&status.version),
        status.pid,
        up_s / 3600,
        up_s / 60 % 60,
        up_s % 60,
        plain(&status.data)
    );
    vec![who, disk]
}

fn shard(shard: &Shard) -> String {
    let place = format!("{}@{}", shard.shard, shard.core);
    let Some(second) = &shard.second else {
        return format!("{place:<7}{:>72}", format!("no figures yet; stalls {}", shard.stalls));
    };
    let percent = |share: f64| format!("{:.0}", share * 100.0);
    format!(
        "{place:<7}{:>5}{:>6}{:>5}{:>6}{:>7}{:>6}{:>6}{:>6}{:>7}{:>5}{:>7}{:>6}",
        percent(second.cpu),
        percent(second.busy),
        percent(second.wal_busy),
        short(f64::from(second.waiting.connections)),
        short(second.requests_per_s),
        short(second.bytes_in_per_s),
        short(second.bytes_out_per_s),
        short(second.wal_blocks_per_s),
        short(f64::from(second.waiting.requests_in_flight)),
        short(f64::from(second.waiting.letters)),
        short(second.waiting.dirty_bytes as f64),
        short(shard.stalls as f64)
    )
}

/// The stages of one API on every shard that has answered such requests in its last second.
fn stages(status: &Status, api: &str) -> Vec<String> {
    let of_shard = |shard: &Shard| {
        let requests = shard.second.as_ref()?.requests.iter().find(|requests| requests.api == api)?;
        (requests.total.count > 0).then(|| (shard.shard, requests.clone()))
    };
    let with: Vec<(u16, Requests)> = status.shards.iter().filter_map(of_shard).collect();
    let Some((_, first)) = with.first() else { return Vec::new() };
    let row = |label: &str, cells: Vec<String>| {
        cells.into_iter().fold(format!("{label:<15}"), |mut line, cell| {
            write!(line, "{cell:>8}").expect("a string takes all");
            line
        })
    };
    let names = first.stages.iter().map(|stage| plain(&stage.stage)).chain(["total".to_owned()]);
    let mut lines = vec![String::new(), row(&format!("{api}, µs"), names.collect())];
    for (shard, requests) in &with {
        let all = || requests.stages.iter().map(|stage| &stage.times).chain([&requests.total]);
        lines.push(row(
            &format!("{shard:<5} mean"),
            all().map(|times| format!("{:.0}", times.mean_us)).collect(),
        ));
        lines.push(row(&format!("{:<5} p50", ""), all().map(|times| times.p50_us.to_string()).collect()));
        lines.push(row(&format!("{:<5} p99", ""), all().map(|times| times.p99_us.to_string()).collect()));
    }
    lines
}

/// Who is behind, the farthest first.
fn groups(groups: &Groups) -> Vec<String> {
    if groups.lags.is_empty() {
        return Vec::new();
    }
    let head = format!(
        "{:<22}{:<22}{:<12}{:>6}{:>6}{:>6}{:>6}",
        "group", "topic", "state", "memb", "parts", "lag", "worst"
    );
    let mut lines = vec![String::new(), head];
    lines.extend(groups.lags.iter().take(GROUPS_SHOWN).map(group));
    let more = groups.lags.len().saturating_sub(GROUPS_SHOWN) + groups.left_out;
    if more > 0 {
        lines.push(format!("and {more} more: --format json"));
    }
    lines
}

fn group(lag: &GroupLag) -> String {
    format!(
        "{:<22}{:<22}{:<12}{:>6}{:>6}{:>6}{:>6}",
        cut(&plain(&lag.group), 21),
        cut(&plain(&lag.topic), 21),
        cut(&plain(&lag.state), 11),
        short(lag.members as f64),
        short(lag.partitions as f64),
        short(lag.lag as f64),
        short(lag.worst_lag as f64)
    )
}

fn topic(topic: &Topic) -> String {
    format!(
        "{:<32}{:>12}{:>12}{:>12}{:>12}",
        cut(&plain(&topic.name), 31),
        short(topic.batches_in_per_s),
        short(topic.bytes_in_per_s),
        short(topic.reads_per_s),
        short(topic.bytes_out_per_s)
    )
}

fn stalls(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for stall in status.stalls.iter().rev().take(STALLS_SHOWN) {
        if lines.is_empty() {
            lines.push(String::new());
            lines.push("newest stalls (backtraces: --format json, and the broker's log)".to_owned());
        }
        lines.push(format!(
            "{:>6} s ago  {}  {} ms  {}",
            status.uptime_us.saturating_sub(stall.at_us) / 1_000_000,
            plain(&stall.name),
            stall.length_us / 1000,
            plain(&stall.doing)
        ));
    }
    lines
}

/// The slowest requests, two lines each.
pub fn slow(report: &SlowReport) -> String {
    if !report.ledger {
        return "No ledger is kept: `monedula ledger on` starts one.\n".to_owned();
    }
    if report.requests.is_empty() {
        return format!("No produce and no fetch was answered in the last {} seconds.\n", report.seconds);
    }
    let mut text = String::new();
    for request in report.requests.iter().take(SLOW_SHOWN) {
        slow_request(&mut text, request, report.at_us).expect("a string takes all");
    }
    if report.requests.len() > SLOW_SHOWN {
        let rest = report.requests.len() - SLOW_SHOWN;
        writeln!(text, "and {rest} more: --format json").expect("a string takes all");
    }
    text
}

fn slow_request(text: &mut String, request: &SlowRequest, at_us: u64) -> std::fmt::Result {
    let stages = request.stages.iter().filter(|(_, us)| *us > 0);
    let stages: Vec<String> = stages.map(|(stage, us)| format!("{} {us}", plain(stage))).collect();
    writeln!(
        text,
        "{:>8} µs  {} = {}",
        request.total_us,
        plain(&request.api),
        if stages.is_empty() { "no time".to_owned() } else { stages.join(" + ") }
    )?;
    write!(
        text,
        "             shard {}, connection {}, {} bytes, {:.1} s ago",
        request.shard,
        request.connection,
        request.bytes,
        at_us.saturating_sub(request.readable_us) as f64 / 1e6
    )?;
    if let Some(turn) = request.arrived.as_ref() {
        write!(text, "; came with {}", neighbours(turn))?;
    }
    if let Some(turn) = request.longest.as_ref() {
        write!(text, "; longest turn meanwhile {} µs: {}", turn.length_us, neighbours(turn))?;
    }
    writeln!(text)
}

fn neighbours(turn: &Turn) -> String {
    format!(
        "{} requests, {} letters, {} disk ({} in flight, {}B dirty)",
        turn.requests,
        turn.letters,
        turn.disk,
        turn.waiting.requests_in_flight,
        short(turn.waiting.dirty_bytes as f64)
    )
}

/// A number in at most five columns: 0, 7, 812, 8.1k, 93k, 1.2M.
fn short(number: f64) -> String {
    let mut scaled = number;
    for unit in ["", "k", "M", "G", "T"] {
        if scaled < 999.5 {
            let decimals = usize::from(!unit.is_empty() && scaled < 9.95);
            return format!("{scaled:.decimals$}{unit}");
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.0}P")
}

/// Names come from clients and files: what would steer a terminal is not passed on.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn cut(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => line.chars().take(width - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Disk, Second, StageTimes, Stall, Times, Waiting};
    use super::*;

    fn times(us: u64) -> Times {
        Times {
            count: 100,
            sum_us: 100 * us,
            mean_us: us as f64,
            p50_us: us,
            p99_us: 9 * us,
            p999_us: 10 * us,
            max_us: 11 * us,
            buckets: Vec::new(),
        }
    }

    fn requests() -> Requests {
        let stages = [
            ("parse", 12),
            ("route", 0),
            ("block", 40),
            ("submit", 8),
            ("disk", 250),
            ("answer", 20),
            ("write", 15),
        ];
        let stages = stages.map(|(stage, us)| StageTimes { stage: stage.into(), times: times(us) });
        Requests { api: "produce".into(), total: times(345), stages: stages.into() }
    }

    fn status() -> Status {
        let waiting = Waiting {
            connections: 4,
            requests_in_flight: 20,
            letters: 0,
            open_work: 20,
            dirty_bytes: 1_234_567,
        };
        let second = Second {
            ended_us: 61_000_000,
            length_us: 1_000_000,
            cpu: 0.41,
            busy: 0.482,
            wal_busy: 0.9,
            requests_per_s: 8123.0,
            bytes_in_per_s: 8.7e6,
            bytes_out_per_s: 730_000.0,
            letters_per_s: 3.0,
            turns_per_s: 4000.0,
            longest_turn_us: 812,
            wal_blocks_per_s: 2031.0,
            wal_bytes_per_s: 9e6,
            waiting,
            requests: vec![requests()],
        };
        let shard = |shard, second| Shard {
            shard,
            core: 2,
            stalls: 1,
            longest_stall_us: 61_000,
            second,
            since_start: Vec::new(),
        };
        Status {
            form: 1,
            version: "0.1.0".into(),
            pid: 4711,
            uptime_us: 3_725_000_000,
            data: "/a/very/long/path".repeat(8),
            ledger: true,
            disk: Some(Disk {
                name: "vda".into(),
                utilisation: 0.314,
                writes_per_s: 2040.0,
                bytes_written_per_s: 9.1e6,
                bytes_read_per_s: 0.0,
            }),
            shards: vec![shard(0, Some(second)), shard(1, None)],
            topics: vec![Topic {
                name: format!("orders\u{1b}[2J{}", "x".repeat(40)),
                batches_in_per_s: 8123.0,
                bytes_in_per_s: 8.7e6,
                ..Topic::default()
            }],
            topics_left_out: 3,
            groups: Some(Groups {
                settled: true,
                lags: vec![GroupLag {
                    group: "billing".into(),
                    state: "PreparingRebalance".into(),
                    members: 2,
                    topic: "orders".into(),
                    partitions: 16,
                    lag: 81_234,
                    worst_partition: 3,
                    worst_lag: 9_120,
                }],
                left_out: 0,
            }),
            stalls: vec![Stall {
                at_us: 3_700_000_000,
                name: "shard-0".into(),
                length_us: 61_000,
                doing: "a Produce request".into(),
                kernel: String::new(),
                backtrace: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_frame_of_top() {
        let frame = top(&status());
        for line in &frame {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains('\u{1b}'), "nobody steers the terminal: {line:?}");
        }
        let expected = "\
disk vda  busy 31 %  writes 2.0k/s  written 9.1MB/s  read 0B/s

shard   cpu% busy% wal%  conn  req/s  in/s out/s wal/s flight mail  dirty stall
0@2       41    48   90     4   8.1k  8.7M  730k  2.0k     20    0   1.2M     1
1@2                                                    no figures yet; stalls 1

produce, µs       parse   route   block  submit    disk  answer   write   total
0     mean           12       0      40       8     250      20      15     345
      p50            12       0      40       8     250      20      15     345
      p99           108       0     360      72    2250     180     135    3105

group                 topic                 state         memb parts   lag worst
billing               orders                PreparingR…      2    16   81k  9.1k

topic                              batches/s        in/s     reads/s       out/s
orders?[2Jxxxxxxxxxxxxxxxxxxxx…         8.1k        8.7M           0           0
and 3 more

newest stalls (backtraces: --format json, and the broker's log)
    25 s ago  shard-0  61 ms  a Produce request";
        assert_eq!(frame[1..].join("\n"), expected);
        assert!(frame[0].starts_with("monedula 0.1.0  pid 4711  up 1:02:05  data /a/very"), "{}", frame[0]);
    }

    #[test]
    fn trouble_is_told_to_its_end() {
        let why = "no broker runs on the data directory /var/lib/monedula of this machine: name that of a running one with \
                   --data DIR";
        let expected = "\
monedula: no broker runs on the data directory /var/lib/monedula of this
machine: name that of a running one with --data DIR

Trying again each second.";
        assert_eq!(trouble(why).join("\n"), expected);
        assert_eq!(trouble("\u{1b}[2J")[0], "monedula: ?[2J");
    }

    #[test]
    fn without_a_ledger_the_frame_says_how_to_get_one() {
        let frame = top(&Status { ledger: false, ..status() }).join("\n");
        assert!(frame.contains("monedula ledger on"), "{frame}");
    }

    #[test]
    fn a_slow_request_is_a_sum() {
        let turn = Turn {
            begun_us: 1,
            length_us: 812,
            requests: 40,
            letters: 2,
            disk: 1,
            waiting: Waiting { requests_in_flight: 20, dirty_bytes: 1_200_000, ..Waiting::default() },
        };
        let request = SlowRequest {
            shard: 1,
            api: "produce".into(),
            connection: 7,
            bytes: 1100,
            readable_us: 1_000_000,
            total_us: 8_123,
            own_us: 8_123,
            stages: vec![("parse".into(), 123), ("route".into(), 0), ("disk".into(), 8_000)],
            arrived: None,
            longest: Some(turn),
            written: turn,
        };
        let mut report = SlowReport { ledger: true, at_us: 3_500_000, seconds: 10, requests: vec![request] };
        let expected = "    8123 µs  produce = parse 123 + disk 8000
             shard 1, connection 7, 1100 bytes, 2.5 s ago; longest turn meanwhile 812 µs: 40 requests, 2 letters, \
                        1 disk (20 in flight, 1.2MB dirty)\n";
        assert_eq!(slow(&report), expected);
        report.requests.clear();
        assert!(slow(&report).contains("in the last 10 seconds"));
    }

    #[test]
    fn numbers_are_short() {
        let expected = ["0", "7", "812", "999", "1.0k", "8.1k", "93k", "1.0M", "1.2G"];
        let numbers = [0.0, 7.2, 812.0, 999.0, 999.7, 8123.0, 93_000.0, 999_900.0, 1.24e9];
        assert_eq!(numbers.map(short), expected);
    }
}
