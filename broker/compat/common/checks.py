"""The checks that every Python client runs, written once against a small adapter.

A client's script subclasses `Client`, which says how that client creates a topic, produces, fetches and so on; `run`
goes through `CHECKS` in order, prints one line for each (`ok NAME`, `FAIL NAME why`, `skip NAME why`) and the counts
last. Which names must pass is the business of `tests.allow` and `verdict.sh`, not of this file.

Environment: BOOTSTRAP (host:port), BROKER_CONTROL (a command that understands `kill` and `restart`; without it the
durability checks are skipped), CHECKS (a comma list of names to run instead of all), CHECK_LIMIT_S (one check).
"""
import os
import random
import shlex
import subprocess
import sys
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field

BOOTSTRAP = os.environ.get("BOOTSTRAP", "127.0.0.1:9092")
BROKER_CONTROL = shlex.split(os.environ.get("BROKER_CONTROL", ""))
CHECK_LIMIT_S = int(os.environ.get("CHECK_LIMIT_S", "60"))
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass
class Record:
    value: bytes | None
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp_ms: int | None = None
    offset: int | None = None
    partition: int | None = None


class Skip(Exception):
    """The client cannot do this at all; the message says why."""


class Client:
    """What a check may ask of a client. Every method blocks until the broker has answered."""

    name = "?"
    sends_null_key_with_null_value = True
    sends_null_headers = True

    def create_topic(self, topic, partitions=1, configs=None): raise NotImplementedError
    def delete_topic(self, topic): raise NotImplementedError
    def grow_topic(self, topic, partitions): raise NotImplementedError
    def partitions_by_topic(self): raise NotImplementedError
    def cluster(self): raise NotImplementedError                     # -> (cluster id, [node ids])
    def topic_configs(self, topic): raise NotImplementedError        # -> {name: value}, defaults included
    def set_topic_config(self, topic, name, value): raise NotImplementedError
    def delete_records(self, topic, partition, before): raise NotImplementedError   # -> new log start
    # `records` to one partition; -> their offsets, in order
    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        raise NotImplementedError
    # `count` records from `offset` on; fewer when none arrive for `timeout_s`
    def fetch(self, topic, count, partition=0, offset=0, timeout_s=20, options=None): raise NotImplementedError
    def fetch_all(self, topic, partitions, count, timeout_s=60): raise NotImplementedError
    def watermarks(self, topic, partition=0): raise NotImplementedError              # -> (log start, high watermark)
    def offset_for_time(self, topic, timestamp_ms, partition=0): raise NotImplementedError   # -> offset or None
    # subscribe() with auto-commit until `count` records are read, then close
    def subscribe_and_read(self, topic, group, count, timeout_s=40): raise NotImplementedError
    def committed(self, topic, group, partition=0): raise NotImplementedError
    # a `Sender`: send(value) without waiting, finish(timeout_s) -> {value: offset} of all that were acknowledged
    def sender(self, topic, idempotent): raise NotImplementedError
    def close(self): pass


# ---- helpers -----------------------------------------------------------------------------------------------------

def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {shorten(got)}, want {shorten(want)}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}… ({len(text)} characters)"


def until(condition, what, timeout_s=20):
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


def refused(call, *needles):
    """The call must fail, and the failure must carry one of the names."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  clients have no common error type
        text = f"{type(error).__name__} {error!r} {error}"
        if not any(needle.lower() in text.lower() for needle in needles):
            raise AssertionError(f"refused with {text[:300]}, expected one of {needles}") from error
        return
    raise AssertionError(f"accepted, expected one of {needles}")


def values(records):
    return [record.value for record in records]


def numbered(count, size=32):
    return [Record(f"record {i:08d} ".encode().ljust(size, b".")) for i in range(count)]


def new_topic(client, partitions=1, **configs):
    topic = unique("compat")
    client.create_topic(topic, partitions, {name.replace("_", "."): value for name, value in configs.items()})
    return topic


def round_trip(client, records, **produce):
    topic = new_topic(client)
    offsets = client.produce(topic, records, **produce)
    equal(offsets, list(range(len(records))), "offsets")
    return client.fetch(topic, len(records))


def control(*words):
    subprocess.run([*BROKER_CONTROL, *words], check=True, timeout=60, stdout=subprocess.DEVNULL)


# ---- the checks --------------------------------------------------------------------------------------------------

def cluster_is_described(client):
    cluster_id, nodes = client.cluster()
    assert nodes, "no nodes"
    assert cluster_id, "no cluster id"
    equal(client.cluster(), (cluster_id, nodes), "the second answer")


def topic_life(client):
    topic = new_topic(client, 3)
    until(lambda: client.partitions_by_topic().get(topic) == 3, "three partitions")
    client.delete_topic(topic)
    until(lambda: topic not in client.partitions_by_topic(), "the topic to be gone")


def topic_exists_already(client):
    topic = new_topic(client)
    refused(lambda: client.create_topic(topic), "already exists", "TOPIC_ALREADY_EXISTS", "TopicAlreadyExists")


def topic_names_are_checked(client):
    for name in ("with space", "a" * 250, ".."):
        refused(lambda: client.create_topic(name), "invalid", "INVALID_TOPIC")


def topic_grows(client):
    topic = new_topic(client, 2)
    client.grow_topic(topic, 5)
    until(lambda: client.partitions_by_topic().get(topic) == 5, "five partitions")
    equal(client.produce(topic, numbered(1), partition=4), [0], "first offset of the new partition")
    refused(lambda: client.grow_topic(topic, 3), "INVALID_PARTITIONS", "InvalidPartitions", "partition")


def unknown_topic_is_not_deleted(client):
    refused(lambda: client.delete_topic(unique("nowhere")), "UNKNOWN_TOPIC", "UnknownTopic", "does not host", "unknown topic")


def configs_are_described(client):
    topic = new_topic(client, 1, retention_ms="7654321")
    configs = client.topic_configs(topic)
    equal(configs.get("retention.ms"), "7654321", "retention.ms")
    for name, default in (("cleanup.policy", "delete"), ("max.message.bytes", "1048588"), ("compression.type", "producer"),
                          ("segment.bytes", "1073741824"), ("message.timestamp.type", "CreateTime")):
        equal(configs.get(name), default, name)


def configs_are_altered(client):
    topic = new_topic(client)
    client.set_topic_config(topic, "retention.ms", "1234567")
    until(lambda: client.topic_configs(topic).get("retention.ms") == "1234567", "the altered value")
    refused(lambda: client.set_topic_config(topic, "retention.ms", "soon"), "INVALID_CONFIG", "InvalidConfig", "invalid")


def records_are_deleted(client):
    topic = new_topic(client)
    client.produce(topic, numbered(20))
    equal(client.delete_records(topic, 0, 12), 12, "log start")
    equal(client.watermarks(topic), (12, 20), "watermarks")
    equal(client.fetch(topic, 8, offset=12)[0].offset, 12, "first offset")


def produce_in_order(client):
    topic = new_topic(client, 3)
    for partition in range(3):
        sent = numbered(1000 + partition)
        equal(client.produce(topic, sent, partition=partition), list(range(len(sent))), "offsets")
        got = client.fetch(topic, len(sent), partition=partition)
        equal(values(got), values(sent), f"values of partition {partition}")
        equal([record.offset for record in got], list(range(len(sent))), "offsets read")


def produce_acks_0(client):
    topic = new_topic(client)
    client.produce(topic, numbered(100), acks=0)
    equal(values(client.fetch(topic, 100)), values(numbered(100)), "values")


def produce_acks_1(client):
    equal(values(round_trip(client, numbered(100), acks=1)), values(numbered(100)), "values")


def produce_acks_all(client):
    equal(values(round_trip(client, numbered(100), acks="all")), values(numbered(100)), "values")


def produce_idempotent(client):
    topic = new_topic(client)
    sent = numbered(600)
    for start in range(0, 600, 200):
        equal(client.produce(topic, sent[start:start + 200], idempotent=True), list(range(start, start + 200)), "offsets")
    equal(values(client.fetch(topic, 600)), values(sent), "values")


def null_and_empty(client):
    sent = [Record(b"v", b"k"), Record(None, b"tombstone"), Record(b"", b"empty value"), Record(b"no key"),
            Record(b"empty key", b"")]
    if client.sends_null_key_with_null_value:
        sent.append(Record(None, None))
    got = round_trip(client, sent)
    equal([(r.key, r.value) for r in got], [(r.key, r.value) for r in sent], "keys and values")


def headers(client):
    every_byte = bytes(range(256))
    sent = [Record(b"none"), Record(b"some", headers=[("a", b"1"), ("bytes", every_byte), ("a", b"2"), ("empty", b""),
                                                     ("unicode-ü", "ü".encode())])]
    got = round_trip(client, sent)
    equal([list(r.headers) for r in got], [list(r.headers) for r in sent], "headers")


def null_header(client):
    if not client.sends_null_headers:
        raise Skip(f"{client.name} refuses to send them")
    got = round_trip(client, [Record(b"v", headers=[("null", None)])])
    equal(list(got[0].headers), [("null", None)], "headers")


def one_byte(client):
    equal(values(round_trip(client, [Record(b"x") for _ in range(300)])), [b"x"] * 300, "values")


def one_megabyte(client):
    rng = random.Random(7)
    sent = [Record(rng.randbytes(1_000_000)) for _ in range(8)]
    equal(values(round_trip(client, sent, max_request_bytes=2_000_000)), values(sent), "values")


def too_large(client):
    topic = new_topic(client, 1, max_message_bytes="10000")
    refused(lambda: client.produce(topic, [Record(b"z" * 20_000)]), "MSG_SIZE_TOO_LARGE", "MESSAGE_TOO_LARGE",
            "MessageSizeTooLarge", "too large", "larger than")
    equal(client.produce(topic, [Record(b"z" * 5_000)]), [0], "the next, smaller one")


def codec(name):
    def check(client):
        sent = [Record(f"value {i} ".encode() * 20, f"key {i}".encode(), [("h", b"x")]) for i in range(500)]
        got = round_trip(client, sent, codec=name)
        equal([(r.key, r.value) for r in got], [(r.key, r.value) for r in sent], "keys and values")
    return check


def codecs_mixed(client):
    """One partition, batches of every codec, read back in one go and from the middle of each."""
    topic = new_topic(client)
    sent = numbered(50 * len(CODECS))
    for index, name in enumerate(CODECS):
        client.produce(topic, sent[50 * index:50 * index + 50], codec=name)
    equal(values(client.fetch(topic, len(sent))), values(sent), "values")
    for offset in range(25, len(sent), 50):
        equal(values(client.fetch(topic, 5, offset=offset)), values(sent[offset:offset + 5]), f"values from {offset}")


def seek(client):
    topic = new_topic(client)
    sent = numbered(300)
    client.produce(topic, sent)
    for offset in (299, 150, 1, 0):
        got = client.fetch(topic, min(3, 300 - offset), offset=offset)
        equal([(r.offset, r.value) for r in got],
              [(offset + i, sent[offset + i].value) for i in range(len(got))], f"records from {offset}")
        assert got, f"nothing at {offset}"


def watermarks(client):
    topic = new_topic(client)
    equal(client.watermarks(topic), (0, 0), "empty")
    client.produce(topic, numbered(17))
    equal(client.watermarks(topic), (0, 17), "after 17")


def long_poll_wakes(client):
    """A fetch that waits at the end of the log answers when a record arrives, not when its time is over."""
    topic = new_topic(client)
    client.produce(topic, numbered(1))
    box = {}

    def wait():
        box["got"] = client.fetch(topic, 1, offset=1, timeout_s=25, options={"fetch_wait_ms": 20_000})
        box["at"] = time.monotonic()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(2)
    produced_at = time.monotonic()
    client.produce(topic, [Record(b"awaited")])
    thread.join(30)
    equal(values(box.get("got", [])), [b"awaited"], "values")
    waited = box["at"] - produced_at
    assert waited < 5, f"woke {waited:.1f} s after the record"


def small_fetch_limits(client):
    """The first batch comes even when it is larger than every limit of the request."""
    topic = new_topic(client)
    sent = [Record(bytes([i]) * 50_000) for i in range(4)]
    for record in sent:
        client.produce(topic, [record])
    equal(values(client.fetch(topic, 4, options={"fetch_bytes": 1000})), values(sent), "values")


def create_time_is_kept(client):
    base = 1_600_000_000_000
    got = round_trip(client, [Record(b"v", timestamp_ms=base + 1000 * i) for i in range(5)])
    equal([r.timestamp_ms for r in got], [base + 1000 * i for i in range(5)], "timestamps")


def log_append_time(client):
    topic = new_topic(client, 1, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    client.produce(topic, [Record(b"v", timestamp_ms=1_600_000_000_000)])
    got = client.fetch(topic, 1)[0].timestamp_ms
    assert before - 1000 <= got <= time.time() * 1000 + 1000, f"timestamp {got}, sent at {before}"


def offsets_for_times(client):
    topic = new_topic(client)
    base = 1_700_000_000_000
    # One batch, so that the answer needs the records and not only the batch.
    client.produce(topic, [Record(b"v", timestamp_ms=base + 1000 * i) for i in range(20)])
    client.produce(topic, [Record(b"v", timestamp_ms=base + 1000 * i) for i in range(20, 40)], codec="gzip")
    for timestamp, offset in ((0, 0), (base, 0), (base + 1, 1), (base + 5_500, 6), (base + 25_000, 25), (base + 38_001, 39)):
        equal(client.offset_for_time(topic, timestamp), offset, f"offset for base{timestamp - base:+}")
    got = client.offset_for_time(topic, base + 39_001)
    assert got in (None, -1, 40), f"offset after the last timestamp: {got}"


def thousand_partitions(client):
    topic = new_topic(client, 1000)
    until(lambda: client.partitions_by_topic().get(topic) == 1000, "1,000 partitions")
    client.produce_each(topic, 1000)
    got = client.fetch_all(topic, 1000, 1000)
    equal(sorted((r.partition, r.value) for r in got), sorted((p, b"%d" % p) for p in range(1000)), "records")


def autocommit_resumes(client):
    topic = new_topic(client)
    group = unique("group")
    sent = numbered(60)
    client.produce(topic, sent[:40])
    equal(values(client.subscribe_and_read(topic, group, 40)), values(sent[:40]), "first run")
    equal(client.committed(topic, group), 40, "committed offset")
    client.produce(topic, sent[40:])
    equal(values(client.subscribe_and_read(topic, group, 20)), values(sent[40:]), "second run")


def group_reads_all_partitions(client):
    topic = new_topic(client, 4)
    for partition in range(4):
        client.produce(topic, [Record(b"%d" % partition)] * 10, partition=partition)
    got = client.subscribe_and_read(topic, unique("group"), 40)
    equal(sorted((r.partition, r.offset) for r in got), [(p, o) for p in range(4) for o in range(10)], "records")


def acknowledged_survives_kill(client):
    """kill -9 while a producer sends: every acknowledged record is there afterwards, at the offset that was told."""
    kill_under_load(client, idempotent=False)


def idempotent_survives_kill(client):
    """As above, and the producer's retries across the restart store nothing twice and keep the order."""
    kill_under_load(client, idempotent=True)


def kill_under_load(client, idempotent):
    if not BROKER_CONTROL:
        raise Skip("BROKER_CONTROL is not set")
    topic = new_topic(client)
    sender = client.sender(topic, idempotent)
    sent, killer = [], None
    for i in range(3000):
        sent.append(b"%08d" % i + b"." * 200)
        sender.send(sent[-1])
        if i == 1500:
            killer = threading.Thread(target=lambda: (control("kill"), control("restart")))
            killer.start()
        time.sleep(0.0005)
    killer.join(60)
    acknowledged = sender.finish(45)
    assert len(acknowledged) >= 500, f"only {len(acknowledged)} acknowledged"
    _, end = client.watermarks(topic)
    stored = client.fetch(topic, end, timeout_s=20)
    by_offset = {record.offset: record.value for record in stored}
    for value, offset in acknowledged.items():
        equal(by_offset.get(offset), value, f"acknowledged record at offset {offset}")
    if idempotent:
        equal(len(acknowledged), len(sent), "acknowledged records")
        equal(values(stored), sent, "stored records")


def committed_survives_kill(client):
    if not BROKER_CONTROL:
        raise Skip("BROKER_CONTROL is not set")
    topic, group = new_topic(client, 1, retention_ms="99999999"), unique("group")
    client.produce(topic, numbered(30))
    client.subscribe_and_read(topic, group, 30)
    control("kill")
    control("restart")
    until(lambda: answered(lambda: client.partitions_by_topic().get(topic)) == 1, "the topic after the restart", 30)
    equal(client.topic_configs(topic).get("retention.ms"), "99999999", "retention.ms after the restart")
    equal(client.watermarks(topic), (0, 30), "watermarks after the restart")
    equal(client.committed(topic, group), 30, "committed offset after the restart")
    client.produce(topic, [Record(b"after")])
    equal(values(client.subscribe_and_read(topic, group, 1)), [b"after"], "records after the restart")


def answered(call):
    try:
        return call()
    except Exception:  # noqa: BLE001  a client may report the broken connection once
        return None


CHECKS = [
    ("cluster", cluster_is_described),
    ("topic-life", topic_life),
    ("topic-exists", topic_exists_already),
    ("topic-names", topic_names_are_checked),
    ("topic-grows", topic_grows),
    ("topic-unknown", unknown_topic_is_not_deleted),
    ("configs-described", configs_are_described),
    ("configs-altered", configs_are_altered),
    ("records-deleted", records_are_deleted),
    ("produce-in-order", produce_in_order),
    ("produce-acks-0", produce_acks_0),
    ("produce-acks-1", produce_acks_1),
    ("produce-acks-all", produce_acks_all),
    ("produce-idempotent", produce_idempotent),
    ("null-and-empty", null_and_empty),
    ("headers", headers),
    ("null-header", null_header),
    ("one-byte", one_byte),
    ("one-megabyte", one_megabyte),
    ("too-large", too_large),
    *((f"codec-{name}", codec(name)) for name in CODECS),
    ("codecs-mixed", codecs_mixed),
    ("seek", seek),
    ("watermarks", watermarks),
    ("long-poll", long_poll_wakes),
    ("small-fetch-limits", small_fetch_limits),
    ("create-time", create_time_is_kept),
    ("log-append-time", log_append_time),
    ("offsets-for-times", offsets_for_times),
    ("thousand-partitions", thousand_partitions),
    ("autocommit-resumes", autocommit_resumes),
    ("group-all-partitions", group_reads_all_partitions),
    ("kill-acknowledged", acknowledged_survives_kill),
    ("kill-idempotent", idempotent_survives_kill),
    ("kill-committed", committed_survives_kill),
]


def run(client):
    wanted = set(filter(None, os.environ.get("CHECKS", "").split(",")))
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for name, check in CHECKS:
        if wanted and name not in wanted:
            continue
        verdict, why, seconds = run_one(client, check)
        counts[verdict] += 1
        print(f"{verdict:4} {name}{' ' + why if why else ''} [{seconds:.1f} s]", flush=True)
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"{counts['ok']} passed, {counts['FAIL']} failed{skipped}", flush=True)
    # A client's own threads may hang on a broker that misbehaves: what had to be said is said.
    os._exit(1 if counts["FAIL"] or not counts["ok"] else 0)


def run_one(client, check):
    box = {"verdict": "FAIL", "why": f"still running after {CHECK_LIMIT_S} s"}

    def call():
        try:
            check(client)
            box.update(verdict="ok", why="")
        except Skip as skip:
            box.update(verdict="skip", why=str(skip))
        except BaseException as error:  # noqa: BLE001
            at = [frame for frame in traceback.extract_tb(error.__traceback__) if "/compat/" in frame.filename]
            place = f" (line {at[-1].lineno} of {os.path.basename(at[-1].filename)})" if at else ""
            text = " ".join(str(error).split())[:400]
            box.update(verdict="FAIL", why=f"{type(error).__name__}: {text}{place}")
            if os.environ.get("TRACE"):
                traceback.print_exception(error, file=sys.stderr)

    started = time.monotonic()
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(CHECK_LIMIT_S)
    return box["verdict"], box["why"], time.monotonic() - started
