"""What differential.py asks. A case is a request at a version; topics are made on both brokers before it is sent.

`{topic}` in a case's needs stands for a topic of its own, which both brokers know by the same name. `DATA` has two
partitions and twenty records in the first, `EMPTY` one partition without records.
"""
import re
import struct
import time
import uuid

from codec import batch

RUN = uuid.uuid4().hex[:8]
DATA, EMPTY, GONE = f"data-{RUN}", f"empty-{RUN}", f"nowhere-{RUN}"
GROUP = f"group-{RUN}"
BASE = 1_700_000_000_000
TOPIC, BROKER = 2, 4


class Case:
    def __init__(self, name, body, versions=range(1 << 15), topic=None, before=(), raw=None):
        self.name, self.body, self.versions, self.topic, self.before, self.raw = name, body, versions, topic, before, raw


def since(version):
    return range(version, 1 << 15)


def until(version):
    return range(version + 1)


class World:
    """Both brokers, with the topics that the cases need."""

    def __init__(self, brokers):
        self.brokers = brokers

    def prepare(self):
        # Its records are old: Kafka would remove them half a minute after its start.
        self.create(DATA, 2, [("retention.ms", "-1")])
        self.create(EMPTY, 1)
        for values in ([b"%d" % i for i in range(10)], [b"%d" % i for i in range(10, 20)]):
            first = int(values[0])
            times = [BASE + 1000 * (first + i) for i in range(10)]
            self.all("Produce", 7, produce(DATA, batch(values, times)))
        # So that the coordinator's topic is there before it is compared.
        for _ in range(40):
            answers = self.all("FindCoordinator", 3, {"Key": GROUP, "KeyType": 0})
            if all(answer["ErrorCode"] == 0 for answer in answers):
                break
            time.sleep(0.25)
        for _ in range(40):
            answers = self.all("OffsetCommit", 7, commit(GROUP, DATA, 3))
            if all(answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0 for answer in answers):
                break
            time.sleep(0.25)

    def all(self, api, version, body):
        return [broker.ask(api, version, body) for broker in self.brokers]

    def create(self, topic, partitions, configs=()):
        """Raises if a broker does not create it."""
        body = {"Topics": [{"Name": topic, "NumPartitions": partitions, "ReplicationFactor": 1,
                            "Configs": [{"Name": name, "Value": value} for name, value in configs]}], "timeoutMs": 30_000}
        for broker in self.brokers:
            answer = broker.ask("CreateTopics", 4, body)
            if not isinstance(answer, dict):    # the case before this one cost the connection
                answer = broker.ask("CreateTopics", 4, body)
            if not isinstance(answer, dict) or answer["Topics"][0]["ErrorCode"] != 0:
                raise RuntimeError(f"{broker.name} does not create {topic}: {answer}")
            # Kafka's answer may come before the leader is ready.
            for _ in range(100):
                ends = broker.ask("ListOffsets", 2, list_offsets(topic, -1))
                if isinstance(ends, dict) and ends["Topics"][0]["Partitions"][0]["ErrorCode"] == 0:
                    break
                time.sleep(0.02)

    def play(self, case, api, version):
        topic = re.sub(r"[^a-z0-9]+", "-", f"{api.lower()}-{version}-{case.name}") + f"-{RUN}"
        if case.topic is not None:
            self.create(topic, *case.topic)
        answers = []
        for broker in self.brokers:
            for before_api, before_version, body in case.before:
                answer = broker.ask(before_api, before_version, body(topic))
                if not isinstance(answer, dict):
                    answer = broker.ask(before_api, before_version, body(topic))
            body = case.body(topic) if callable(case.body) else case.body
            # A group request may meet a coordinator that loads still, or a leader that is not ready.
            for _ in range(20):
                answer = broker.ask(api, version, body, raw=case.raw)
                if not any(f"'ErrorCode': {code}," in f"{answer}," .replace("}", ",") for code in (14, 15)):
                    break
                time.sleep(0.1)
            answers.append(answer)
        return answers


# ---- requests ----------------------------------------------------------------------------------------------------------

def produce(topic, records, partition=0, acks=-1, transactional_id=None):
    return {"TransactionalId": transactional_id, "Acks": acks, "TimeoutMs": 10_000,
            "TopicData": [{"Name": topic, "PartitionData": [{"Index": partition, "Records": records}]}]}


def fetch(topic, offset, partition=0, partition_bytes=1 << 20, wait_ms=100, min_bytes=1, **top):
    epoch = {"CurrentLeaderEpoch": top.pop("epoch")} if "epoch" in top else {}
    return {"ReplicaId": -1, "MaxWaitMs": wait_ms, "MinBytes": min_bytes, "MaxBytes": 1 << 20, **top,
            "Topics": [{"Topic": topic, "Partitions": [{"Partition": partition, "FetchOffset": offset,
                                                        "PartitionMaxBytes": partition_bytes, **epoch}]}]}


def list_offsets(topic, timestamp, partition=0, **extra):
    return {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": partition, "Timestamp": timestamp, **extra}]}]}


def epochs(topic, epoch, partition=0, current=-1):
    return {"ReplicaId": -1, "Topics": [{"Topic": topic, "Partitions": [
        {"Partition": partition, "CurrentLeaderEpoch": current, "LeaderEpoch": epoch}]}]}


def metadata(*topics, **extra):
    return {"Topics": [{"Name": topic} for topic in topics], **extra}


def new_topic(name, partitions=1, replication=1, configs=(), assignments=(), **top):
    return {"Topics": [{"Name": name, "NumPartitions": partitions, "ReplicationFactor": replication,
                        "Configs": [{"Name": n, "Value": v} for n, v in configs],
                        "Assignments": [{"PartitionIndex": p, "BrokerIds": b} for p, b in assignments]}],
            "timeoutMs": 30_000, **top}


def grow(topic, count, assignments=None, **top):
    return {"Topics": [{"Name": topic, "Count": count, "Assignments": assignments}], "TimeoutMs": 30_000, "ValidateOnly": False, **top}


def delete_records(topic, offset, partition=0):
    return {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": partition, "Offset": offset}]}], "TimeoutMs": 10_000}


def describe(kind, name, keys=None, **extra):
    return {"Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}], "IncludeSynonyms": False, **extra}


def alter(kind, name, *configs, **top):
    return {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [{"Name": n, "Value": v} for n, v in configs]}],
            "ValidateOnly": False, **top}


SET, DELETE, APPEND, SUBTRACT = range(4)


def change(kind, name, *configs, **top):
    return {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [
        {"Name": n, "ConfigOperation": o, "Value": v} for n, o, v in configs]}], "ValidateOnly": False, **top}


def commit(group, topic, offset, partition=0, metadata_text="", generation=-1, member=""):
    return {"GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member, "Topics": [
        {"Name": topic, "Partitions": [{"PartitionIndex": partition, "CommittedOffset": offset, "CommittedMetadata": metadata_text}]}]}


def committed(group, topics):
    """The request of versions 1 to 7."""
    return {"GroupId": group, "Topics": topics and [{"Name": t, "PartitionIndexes": p} for t, p in topics]}


def committed_many(*groups):
    """The request of version 8 on."""
    return {"Groups": [{"GroupId": g, "Topics": topics and [{"Name": t, "PartitionIndexes": p} for t, p in topics]} for g, topics in groups]}


def join(group, member="", session_ms=10_000, kind="consumer", protocols=(("range", b""),), **extra):
    return {"GroupId": group, "SessionTimeoutMs": session_ms, "RebalanceTimeoutMs": 10_000, "MemberId": member, "ProtocolType": kind,
            "Protocols": [{"Name": name, "Metadata": data} for name, data in protocols], **extra}


VALUES = [b"one", b"two", b"three"]
NOW_MS = int(time.time() * 1000)

CASES = {
    "ApiVersions": [
        Case("no name", {"ClientSoftwareName": "", "ClientSoftwareVersion": ""}, since(3)),
        Case("bad name", {"ClientSoftwareName": "-bad-", "ClientSoftwareVersion": "1"}, since(3)),
    ],
    "Metadata": [
        Case("one topic", metadata(DATA, AllowAutoTopicCreation=False)),
        Case("two topics", metadata(EMPTY, DATA, AllowAutoTopicCreation=False)),
        Case("no topics", {"Topics": []}, since(1)),
        Case("unknown", metadata(GONE, AllowAutoTopicCreation=False), since(4)),
        Case("bad name", metadata("bad name", AllowAutoTopicCreation=False), since(4)),
        Case("empty name", metadata("", AllowAutoTopicCreation=False), since(4)),
        Case("authorized operations", metadata(DATA, AllowAutoTopicCreation=False, IncludeTopicAuthorizedOperations=True), since(8)),
        Case("unknown id", {"Topics": [{"TopicId": uuid.UUID(int=77), "Name": None}], "AllowAutoTopicCreation": False}, since(12)),
    ],
    "Produce": [
        Case("one batch", lambda t: produce(t, batch(VALUES)), topic=(1,)),
        Case("acks 1", lambda t: produce(t, batch(VALUES), acks=1), topic=(1,)),
        Case("acks 2", lambda t: produce(t, batch(VALUES), acks=2), topic=(1,)),
        Case("unknown topic", produce(GONE, batch(VALUES))),
        Case("unknown partition", produce(EMPTY, batch(VALUES), partition=7)),
        # Null records are not asked: Kafka logs an exception and never answers.
        Case("empty records", lambda t: produce(t, b""), topic=(1,)),
        Case("short garbage", lambda t: produce(t, b"garbage"), topic=(1,)),
        Case("long garbage", lambda t: produce(t, bytes(range(200))), topic=(1,)),
        Case("two batches", lambda t: produce(t, batch(VALUES) + batch(VALUES)), topic=(1,)),
        Case("half a batch", lambda t: produce(t, batch(VALUES)[:-5]), topic=(1,)),
        Case("bytes behind a batch", lambda t: produce(t, batch(VALUES) + b"more"), topic=(1,)),
        Case("half a batch behind a batch", lambda t: produce(t, batch(VALUES) + batch(VALUES)[:-5]), topic=(1,)),
        Case("base offset 5", lambda t: produce(t, b"\0" * 7 + b"\5" + batch(VALUES)[8:]), topic=(1,)),
        Case("wrong crc", lambda t: produce(t, batch(VALUES, crc=1)), topic=(1,)),
        Case("magic 1", lambda t: produce(t, batch(VALUES, magic=1)), topic=(1,)),
        Case("magic 3", lambda t: produce(t, batch(VALUES, magic=3)), topic=(1,)),
        Case("count too high", lambda t: produce(t, batch(VALUES, count=5)), topic=(1,)),
        Case("count too low", lambda t: produce(t, batch(VALUES, count=2)), topic=(1,)),
        Case("count zero", lambda t: produce(t, batch([], [BASE], count=0, body=b"")), topic=(1,)),
        Case("deltas with a gap", lambda t: produce(t, batch(VALUES, deltas=[0, 1, 5])), topic=(1,)),
        Case("deltas backwards", lambda t: produce(t, batch(VALUES, deltas=[0, 2, 1])), topic=(1,)),
        Case("control batch", lambda t: produce(t, batch(VALUES, attributes=0x20)), topic=(1,)),
        Case("codec 6", lambda t: produce(t, batch(VALUES, attributes=6)), topic=(1,)),
        Case("gzip that is none", lambda t: produce(t, batch(VALUES, attributes=1)), topic=(1,)),
        Case("zstd header", lambda t: produce(t, batch(VALUES, attributes=4)), until(6), topic=(1,)),
        Case("too large", lambda t: produce(t, batch([b"x" * 5000])), topic=(1, [("max.message.bytes", "1000")])),
        Case("log append time", lambda t: produce(t, batch(VALUES)), topic=(1, [("message.timestamp.type", "LogAppendTime")])),
        Case("far future", lambda t: produce(t, batch(VALUES, [NOW_MS + 10 ** 10] * 3)), topic=(1,)),
        Case("timestamp too old", lambda t: produce(t, batch(VALUES, [NOW_MS - 10 ** 8] * 3)), topic=(1, [("message.timestamp.before.max.ms", "1000")])),
        Case("keyless to compacted", lambda t: produce(t, batch(VALUES)), topic=(1, [("cleanup.policy", "compact")])),
        Case("keyed to compacted", lambda t: produce(t, batch(VALUES, key=b"k")), topic=(1, [("cleanup.policy", "compact")])),
        Case("first sequence 5", lambda t: produce(t, batch(VALUES, producer=(4242, 0, 5))), topic=(1,)),
        Case("sequence 0", lambda t: produce(t, batch(VALUES, producer=(4242, 0, 0))), topic=(1,)),
        Case("sequence again", lambda t: produce(t, batch(VALUES, producer=(4242, 0, 0))), topic=(1,),
             before=[("Produce", 7, lambda t: produce(t, batch(VALUES, producer=(4242, 0, 0))))]),
        Case("sequence gap", lambda t: produce(t, batch(VALUES, producer=(4242, 0, 9))), topic=(1,),
             before=[("Produce", 7, lambda t: produce(t, batch(VALUES, producer=(4242, 0, 0))))]),
        Case("older epoch", lambda t: produce(t, batch(VALUES, producer=(4242, 1, 3))), topic=(1,),
             before=[("Produce", 7, lambda t: produce(t, batch(VALUES, producer=(4242, 2, 0))))]),
        Case("newer epoch from 3", lambda t: produce(t, batch(VALUES, producer=(4242, 2, 3))), topic=(1,),
             before=[("Produce", 7, lambda t: produce(t, batch(VALUES, producer=(4242, 1, 0))))]),
        Case("one good, one unknown", lambda t: {"Acks": -1, "TimeoutMs": 10_000, "TransactionalId": None, "TopicData": [
            {"Name": t, "PartitionData": [{"Index": 0, "Records": batch(VALUES)}, {"Index": 9, "Records": batch(VALUES)}]}]}, topic=(1,)),
        Case("internal topic", produce("__consumer_offsets", batch(VALUES, key=b"k"))),
    ],
    "Fetch": [
        Case("from the start", fetch(DATA, 0)),
        Case("from the middle of a batch", fetch(DATA, 5)),
        Case("second batch", fetch(DATA, 10)),
        Case("at the end", fetch(DATA, 20)),
        Case("beyond the end", fetch(DATA, 21)),
        Case("negative", fetch(DATA, -1)),
        Case("few bytes", fetch(DATA, 0, partition_bytes=10)),
        Case("no bytes", fetch(DATA, 0, partition_bytes=0)),
        Case("few bytes in all", fetch(DATA, 0, MaxBytes=1)),
        Case("waits for more", fetch(DATA, 10, min_bytes=100_000, wait_ms=300)),
        Case("unknown topic", fetch(GONE, 0)),
        Case("unknown partition", fetch(DATA, 0, partition=9)),
        Case("read committed", fetch(DATA, 0, IsolationLevel=1)),
        Case("isolation 7", fetch(DATA, 0, IsolationLevel=7)),
        Case("new session", fetch(DATA, 0, SessionId=0, SessionEpoch=0), since(7)),
        Case("unknown session", fetch(DATA, 0, SessionId=12345, SessionEpoch=3), since(7)),
        Case("final epoch", fetch(DATA, 0, SessionId=0, SessionEpoch=-1), since(7)),
        Case("right epoch", fetch(DATA, 0, epoch=0), since(9)),
        Case("epoch too high", fetch(DATA, 0, epoch=9), since(9)),
        Case("deleted records", lambda t: fetch(t, 0), topic=(1,), before=[
            ("Produce", 7, lambda t: produce(t, batch(VALUES))), ("DeleteRecords", 0, lambda t: delete_records(t, 2))]),
    ],
    "ListOffsets": [
        Case("latest", list_offsets(DATA, -1)),
        Case("earliest", list_offsets(DATA, -2)),
        Case("of an empty one", list_offsets(EMPTY, -1)),
        Case("earliest of an empty one", list_offsets(EMPTY, -2)),
        Case("time 0", list_offsets(DATA, 0)),
        Case("time in between", list_offsets(DATA, BASE + 3500)),
        Case("time in the second batch", list_offsets(DATA, BASE + 15_000)),
        Case("time after all", list_offsets(DATA, BASE + 20_000)),
        Case("time of an empty one", list_offsets(EMPTY, BASE)),
        Case("max timestamp", list_offsets(DATA, -3)),
        Case("max timestamp of an empty one", list_offsets(EMPTY, -3)),
        Case("timestamp -9", list_offsets(DATA, -9)),
        Case("unknown topic", list_offsets(GONE, -1)),
        Case("unknown partition", list_offsets(DATA, -1, partition=9)),
        Case("epoch too high", list_offsets(DATA, -1, CurrentLeaderEpoch=9), since(4)),
        Case("read committed", {**list_offsets(DATA, -1), "IsolationLevel": 1}, since(2)),
    ],
    "OffsetForLeaderEpoch": [
        Case("epoch 0", epochs(DATA, 0)),
        Case("epoch 5", epochs(DATA, 5)),
        Case("epoch -1", epochs(DATA, -1)),
        Case("current too high", epochs(DATA, 0, current=9)),
        Case("unknown topic", epochs(GONE, 0)),
        Case("unknown partition", epochs(DATA, 0, partition=9)),
    ],
    "FindCoordinator": [
        Case("group", {"Key": GROUP, "KeyType": 0}, until(3)),
        Case("type 9", {"Key": GROUP, "KeyType": 9}, range(1, 4)),
        Case("empty group", {"Key": "", "KeyType": 0}, until(3)),
        Case("groups", {"CoordinatorKeys": [GROUP, "other"], "KeyType": 0}, since(4)),
        Case("groups of type 9", {"CoordinatorKeys": [GROUP], "KeyType": 9}, since(4)),
        Case("no groups", {"CoordinatorKeys": [], "KeyType": 0}, since(4)),
    ],
    "InitProducerId": [
        Case("idempotent", {"TransactionalId": None, "TransactionTimeoutMs": 60_000}),
        Case("empty transactional id", {"TransactionalId": "", "TransactionTimeoutMs": 60_000}),
        Case("an id that was given", {"TransactionalId": None, "TransactionTimeoutMs": 60_000, "ProducerId": 5, "ProducerEpoch": 3}, since(3)),
        Case("an id without epoch", {"TransactionalId": None, "TransactionTimeoutMs": 60_000, "ProducerId": 5}, since(3)),
    ],
    "CreateTopics": [
        Case("plain", lambda t: new_topic(t, 3)),
        Case("defaults", lambda t: new_topic(t, -1, -1), since(4)),
        Case("with configs", lambda t: new_topic(t, configs=[("retention.ms", "1000"), ("cleanup.policy", "compact")])),
        Case("validate only", lambda t: new_topic(t, validateOnly=True)),
        Case("there already", new_topic(DATA)),
        Case("there already, to validate", new_topic(DATA, validateOnly=True)),
        Case("bad name", new_topic("bad name")),
        Case("empty name", new_topic("")),
        Case("dots", new_topic("..")),
        Case("long name", new_topic("a" * 250)),
        Case("collides", lambda t: new_topic(t.replace("-", "_").replace("_", ".", 1)), before=[
            ("CreateTopics", 4, lambda t: new_topic(t.replace("-", "_")))]),
        Case("no partitions", lambda t: new_topic(t, 0)),
        Case("-2 partitions", lambda t: new_topic(t, -2)),
        Case("two replicas", lambda t: new_topic(t, 1, 2)),
        Case("no replicas", lambda t: new_topic(t, 1, 0)),
        Case("unknown config", lambda t: new_topic(t, configs=[("no.such.config", "1")])),
        Case("bad value", lambda t: new_topic(t, configs=[("retention.ms", "soon")])),
        Case("null value", lambda t: new_topic(t, configs=[("retention.ms", None)])),
        Case("value out of range", lambda t: new_topic(t, configs=[("segment.bytes", "10")])),
        Case("assignment of a stranger", lambda t: new_topic(t, -1, -1, assignments=[(0, [4711])])),
        Case("assignment and count", lambda t: new_topic(t, 1, 1, assignments=[(0, [1])])),
        Case("assignment with a gap", lambda t: new_topic(t, -1, -1, assignments=[(1, [1])])),
        Case("twice", lambda t: {"Topics": new_topic(t)["Topics"] * 2, "timeoutMs": 10_000}),
    ],
    "DeleteTopics": [
        Case("plain", lambda t: {"TopicNames": [t], "TimeoutMs": 30_000}, until(5), topic=(2,)),
        Case("unknown", {"TopicNames": [GONE], "TimeoutMs": 30_000}, until(5)),
        Case("none", {"TopicNames": [], "TimeoutMs": 30_000}, until(5)),
        Case("twice", lambda t: {"TopicNames": [t, t], "TimeoutMs": 30_000}, until(5), topic=(1,)),
        Case("by name", lambda t: {"Topics": [{"Name": t}], "TimeoutMs": 30_000}, since(6), topic=(1,)),
        Case("unknown by name", {"Topics": [{"Name": GONE}], "TimeoutMs": 30_000}, since(6)),
        Case("unknown by id", {"Topics": [{"Name": None, "TopicId": uuid.UUID(int=77)}], "TimeoutMs": 30_000}, since(6)),
        Case("by neither", {"Topics": [{"Name": None}], "TimeoutMs": 30_000}, since(6)),
        Case("by both", {"Topics": [{"Name": GONE, "TopicId": uuid.UUID(int=77)}], "TimeoutMs": 30_000}, since(6)),
    ],
    "CreatePartitions": [
        Case("more", lambda t: grow(t, 4), topic=(2,)),
        Case("as many", lambda t: grow(t, 2), topic=(2,)),
        Case("fewer", lambda t: grow(t, 1), topic=(2,)),
        Case("validate only", lambda t: grow(t, 4, ValidateOnly=True), topic=(2,)),
        Case("unknown", grow(GONE, 4)),
        Case("assigned to a stranger", lambda t: grow(t, 3, [{"BrokerIds": [4711]}]), topic=(2,)),
        Case("too few assignments", lambda t: grow(t, 4, [{"BrokerIds": [1]}]), topic=(2,)),
        Case("twice", lambda t: {"Topics": grow(t, 4)["Topics"] * 2, "TimeoutMs": 10_000, "ValidateOnly": False}, topic=(2,)),
    ],
    "DeleteRecords": [
        Case("some", lambda t: delete_records(t, 2), topic=(1,), before=[("Produce", 7, lambda t: produce(t, batch(VALUES)))]),
        Case("all", lambda t: delete_records(t, -1), topic=(1,), before=[("Produce", 7, lambda t: produce(t, batch(VALUES)))]),
        Case("beyond", lambda t: delete_records(t, 4), topic=(1,), before=[("Produce", 7, lambda t: produce(t, batch(VALUES)))]),
        Case("before the start", lambda t: delete_records(t, 1), topic=(1,), before=[
            ("Produce", 7, lambda t: produce(t, batch(VALUES))), ("DeleteRecords", 0, lambda t: delete_records(t, 2))]),
        Case("-2", delete_records(DATA, -2)),
        Case("unknown topic", delete_records(GONE, 0)),
        Case("unknown partition", delete_records(DATA, 0, partition=9)),
        Case("compacted", lambda t: delete_records(t, 0), topic=(1, [("cleanup.policy", "compact")])),
    ],
    "DescribeConfigs": [
        Case("topic", describe(TOPIC, DATA)),
        Case("topic with synonyms", describe(TOPIC, DATA, ["retention.ms", "max.message.bytes"], IncludeSynonyms=True)),
        Case("topic with documentation", describe(TOPIC, DATA, ["retention.ms"], IncludeDocumentation=True), since(3)),
        Case("set on the topic", lambda t: describe(TOPIC, t, ["retention.ms", "cleanup.policy"]), topic=(1, [("retention.ms", "1000")])),
        Case("unknown key", describe(TOPIC, DATA, ["no.such.config"])),
        Case("no keys", describe(TOPIC, DATA, [])),
        Case("unknown topic", describe(TOPIC, GONE)),
        Case("bad topic name", describe(TOPIC, "bad name")),
        Case("broker 4711", describe(BROKER, "4711")),
        Case("broker of letters", describe(BROKER, "abc")),
        Case("all brokers", describe(BROKER, "")),
        Case("type 77", describe(77, "x")),
    ],
    "AlterConfigs": [
        Case("set", lambda t: alter(TOPIC, t, ("retention.ms", "5000")), topic=(1,)),
        Case("replaces", lambda t: alter(TOPIC, t), topic=(1, [("retention.ms", "1000")])),
        Case("validate only", lambda t: alter(TOPIC, t, ("retention.ms", "5000"), ValidateOnly=True), topic=(1,)),
        Case("unknown key", lambda t: alter(TOPIC, t, ("no.such.config", "1")), topic=(1,)),
        Case("bad value", lambda t: alter(TOPIC, t, ("retention.ms", "soon")), topic=(1,)),
        Case("null value", lambda t: alter(TOPIC, t, ("retention.ms", None)), topic=(1,)),
        Case("unknown topic", alter(TOPIC, GONE, ("retention.ms", "1"))),
        Case("broker 4711", alter(BROKER, "4711", ("log.cleaner.threads", "1"))),
        Case("type 77", alter(77, "x", ("a", "1"))),
        # A resource that is named twice is not asked: Kafka never answers.
    ],
    "IncrementalAlterConfigs": [
        Case("set", lambda t: change(TOPIC, t, ("retention.ms", SET, "5000")), topic=(1,)),
        Case("delete", lambda t: change(TOPIC, t, ("retention.ms", DELETE, None)), topic=(1, [("retention.ms", "1000")])),
        Case("delete what is not set", lambda t: change(TOPIC, t, ("retention.ms", DELETE, None)), topic=(1,)),
        Case("append", lambda t: change(TOPIC, t, ("cleanup.policy", APPEND, "compact")), topic=(1,)),
        Case("subtract", lambda t: change(TOPIC, t, ("cleanup.policy", SUBTRACT, "delete")), topic=(1, [("cleanup.policy", "compact,delete")])),
        Case("append to no list", lambda t: change(TOPIC, t, ("retention.ms", APPEND, "1")), topic=(1,)),
        Case("operation 9", lambda t: change(TOPIC, t, ("retention.ms", 9, "1")), topic=(1,)),
        Case("unknown key", lambda t: change(TOPIC, t, ("no.such.config", SET, "1")), topic=(1,)),
        Case("delete unknown key", lambda t: change(TOPIC, t, ("no.such.config", DELETE, None)), topic=(1,)),
        Case("bad value", lambda t: change(TOPIC, t, ("retention.ms", SET, "soon")), topic=(1,)),
        Case("null value", lambda t: change(TOPIC, t, ("retention.ms", SET, None)), topic=(1,)),
        Case("segment too small", lambda t: change(TOPIC, t, ("segment.bytes", SET, "1000")), topic=(1,)),
        Case("key twice", lambda t: change(TOPIC, t, ("retention.ms", SET, "1"), ("retention.ms", SET, "2")), topic=(1,)),
        Case("one good, one bad", lambda t: change(TOPIC, t, ("retention.ms", SET, "1"), ("segment.bytes", SET, "x")), topic=(1,)),
        Case("validate only", lambda t: change(TOPIC, t, ("retention.ms", SET, "5000"), ValidateOnly=True), topic=(1,)),
        Case("unknown topic", change(TOPIC, GONE, ("retention.ms", SET, "1"))),
        Case("broker 4711", change(BROKER, "4711", ("log.cleaner.threads", SET, "1"))),
        Case("read-only on all brokers", change(BROKER, "", ("log.dirs", SET, "/x"))),
        Case("type 77", change(77, "x", ("a", SET, "1"))),
    ],
    "DescribeCluster": [
        Case("plain", {}),
        Case("authorized operations", {"IncludeClusterAuthorizedOperations": True}),
        Case("controllers", {"EndpointType": 2}, since(1)),
        Case("type 9", {"EndpointType": 9}, since(1)),
    ],
    "DescribeLogDirs": [
        Case("one partition", {"Topics": [{"Topic": DATA, "Partitions": [0]}]}),
        Case("two partitions", {"Topics": [{"Topic": DATA, "Partitions": [0, 1]}]}),
        Case("unknown", {"Topics": [{"Topic": GONE, "Partitions": [0]}]}),
        Case("none", {"Topics": []}),
    ],
    "DescribeTopicPartitions": [
        Case("plain", {"Topics": [{"Name": DATA}, {"Name": EMPTY}], "ResponsePartitionLimit": 100, "Cursor": None}),
        Case("unknown", {"Topics": [{"Name": GONE}], "ResponsePartitionLimit": 100, "Cursor": None}),
        Case("bad name", {"Topics": [{"Name": "bad name"}], "ResponsePartitionLimit": 100, "Cursor": None}),
        Case("limit 1", {"Topics": [{"Name": DATA}], "ResponsePartitionLimit": 1, "Cursor": None}),
        Case("from a cursor", {"Topics": [{"Name": DATA}], "ResponsePartitionLimit": 100, "Cursor": {"TopicName": DATA, "PartitionIndex": 1}}),
    ],
    "DescribeProducers": [
        Case("none", {"Topics": [{"Name": DATA, "PartitionIndexes": [0]}]}),
        Case("one", lambda t: {"Topics": [{"Name": t, "PartitionIndexes": [0]}]}, topic=(1,),
             before=[("Produce", 7, lambda t: produce(t, batch(VALUES, producer=(4242, 3, 0))))]),
        Case("unknown", {"Topics": [{"Name": GONE, "PartitionIndexes": [0]}]}),
        Case("unknown partition", {"Topics": [{"Name": DATA, "PartitionIndexes": [9]}]}),
    ],
    "OffsetCommit": [
        Case("simple", lambda t: commit(t, DATA, 5)),
        Case("with metadata", lambda t: commit(t, DATA, 5, metadata_text="ü")),
        Case("metadata too large", lambda t: commit(t, DATA, 5, metadata_text="m" * 5000)),
        Case("unknown topic", lambda t: commit(t, GONE, 5)),
        Case("unknown partition", lambda t: commit(t, DATA, 5, partition=9)),
        Case("empty group", commit("", DATA, 5)),
        Case("generation 3 of no group", lambda t: commit(t, DATA, 5, generation=3, member="m")),
        Case("member of no group", lambda t: commit(t, DATA, 5, member="m")),
        Case("offset -5", lambda t: commit(t, DATA, -5)),
    ],
    "OffsetFetch": [
        Case("committed", committed(GROUP, [(DATA, [0])]), until(7)),
        Case("not committed", committed(GROUP, [(DATA, [1])]), until(7)),
        Case("unknown topic", committed(GROUP, [(GONE, [0])]), until(7)),
        Case("unknown group", committed(f"no-{GROUP}", [(DATA, [0])]), until(7)),
        Case("all", committed(GROUP, None), range(2, 8)),
        Case("all of an unknown group", committed(f"no-{GROUP}", None), range(2, 8)),
        Case("stable", {**committed(GROUP, [(DATA, [0])]), "RequireStable": True}, range(7, 8)),
        Case("two groups", committed_many((GROUP, [(DATA, [0, 1])]), (f"no-{GROUP}", [(DATA, [0])])), since(8)),
        Case("all, of two groups", committed_many((GROUP, None), (f"no-{GROUP}", None)), since(8)),
        Case("no groups", committed_many(), since(8)),
    ],
    "JoinGroup": [
        Case("empty group", join("")),
        Case("session too short", lambda t: join(t, session_ms=10)),
        Case("session too long", lambda t: join(t, session_ms=10 ** 8)),
        Case("unknown member", lambda t: join(t, member="nobody")),
        Case("no protocols", lambda t: join(t, protocols=())),
        Case("no protocol type", lambda t: join(t, kind="")),
        Case("first", lambda t: join(t), until(3)),
        Case("first, without an id", lambda t: join(t), since(4)),
        Case("static", lambda t: join(t, GroupInstanceId="one"), since(5)),
    ],
    "SyncGroup": [Case("unknown group", lambda t: {"GroupId": t, "GenerationId": 1, "MemberId": "nobody", "Assignments": []}),
                  Case("empty group", {"GroupId": "", "GenerationId": 1, "MemberId": "nobody", "Assignments": []})],
    "Heartbeat": [Case("unknown group", lambda t: {"GroupId": t, "GenerationId": 1, "MemberId": "nobody"}),
                  Case("empty group", {"GroupId": "", "GenerationId": 1, "MemberId": "nobody"}),
                  Case("of a group with offsets", {"GroupId": GROUP, "GenerationId": 1, "MemberId": "nobody"})],
    "LeaveGroup": [Case("unknown group", lambda t: {"GroupId": t, "MemberId": "nobody"}, until(2)),
                   Case("unknown group, of many", lambda t: {"GroupId": t, "Members": [{"MemberId": "nobody"}]}, since(3)),
                   Case("static stranger", lambda t: {"GroupId": t, "Members": [{"MemberId": "", "GroupInstanceId": "x"}]}, since(3)),
                   Case("nobody", lambda t: {"GroupId": t, "Members": []}, since(3))],
    "DescribeGroups": [Case("unknown", lambda t: {"Groups": [t]}),
                       Case("with offsets only", {"Groups": [GROUP]}),
                       Case("empty name", {"Groups": [""]}),
                       Case("none", {"Groups": []}),
                       Case("authorized operations", {"Groups": [GROUP], "IncludeAuthorizedOperations": True}, since(3))],
    "ListGroups": [Case("dead", {"StatesFilter": ["Dead"]}, since(4)),
                   Case("no such state", {"StatesFilter": ["Wonderful"]}, since(4)),
                   Case("no such type", {"TypesFilter": ["wonderful"]}, since(5))],
    "DeleteGroups": [Case("unknown", lambda t: {"GroupsNames": [t]}),
                     Case("with offsets only", lambda t: {"GroupsNames": [t]}, before=[("OffsetCommit", 7, lambda t: commit(t, DATA, 5))]),
                     Case("empty name", {"GroupsNames": [""]}),
                     Case("none", {"GroupsNames": []})],
    "OffsetDelete": [Case("unknown group", lambda t: {"GroupId": t, "Topics": [{"Name": DATA, "Partitions": [{"PartitionIndex": 0}]}]}),
                     Case("of a group", lambda t: {"GroupId": t, "Topics": [{"Name": DATA, "Partitions": [{"PartitionIndex": 0}]}]},
                          before=[("OffsetCommit", 7, lambda t: commit(t, DATA, 5))]),
                     Case("unknown topic", {"GroupId": GROUP, "Topics": [{"Name": GONE, "Partitions": [{"PartitionIndex": 0}]}]})],
}

# Requests that are not to be sent with their defaults: an answer to these says something of all that is there.
NO_DEFAULTS = {"ApiVersions", "Metadata", "DescribeLogDirs", "ListGroups", "InitProducerId", "DescribeTopicPartitions", "Produce"}


def of(api):
    return CASES.get(api, []) + ([] if api in NO_DEFAULTS else [Case("defaults only", {})])


# name: API key, version, whether the header is flexible, body
FRAMES = {
    "unknown API": (999, 0, False, b""),
    "ApiVersions v99": (18, 99, True, b"\0\0\0"),
    "Metadata v99": (3, 99, True, b""),
    "Fetch v3": (1, 3, False, b""),
    "Produce v2": (0, 2, False, struct.pack(">hii", 1, 1000, 0)),
    "Metadata cut off": (3, 1, False, b"\0\0"),
    "Metadata with 2 billion topics": (3, 1, False, b"\x7f\xff\xff\xff"),
    "Metadata with bytes left over": (3, 1, False, b"\0\0\0\0more"),
    "CreateTopics cut off": (19, 4, False, b"\0\0\0\1\0\5ab"),
}
