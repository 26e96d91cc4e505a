"""kafka-python as a `Client` of the common checks."""
import logging
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic  # noqa: E402
import checks  # noqa: E402
from checks import Record  # noqa: E402

logging.disable(logging.CRITICAL)


class KafkaPython(checks.Client):
    name = "kafka-python"
    sends_null_key_with_null_value = False
    sends_null_headers = False

    def __init__(self):
        self.common = {"bootstrap_servers": checks.BOOTSTRAP}
        self.admin = KafkaAdminClient(**self.common)

    def create_topic(self, topic, partitions=1, configs=None):
        self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or {})], timeout_ms=30_000)

    def delete_topic(self, topic):
        self.admin.delete_topics([topic], timeout_ms=30_000)

    def grow_topic(self, topic, partitions):
        self.admin.create_partitions({topic: NewPartitions(partitions)}, timeout_ms=30_000)

    def partitions_by_topic(self):
        return {topic["name"]: len(topic["partitions"]) for topic in self.admin.describe_topics()}

    def cluster(self):
        described = self.admin.describe_cluster()
        return described["cluster_id"], sorted(broker["broker_id"] for broker in described["brokers"])

    def topic_configs(self, topic):
        described = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        entries = next(iter(next(iter(described.values())).values()))
        return {name: entry["value"] if isinstance(entry, dict) else entry for name, entry in entries.items()}

    def set_topic_config(self, topic, name, value):
        answer = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
        if answer["topic"][topic] != "OK":
            raise RuntimeError(answer["topic"][topic])

    def delete_records(self, topic, partition, before):
        target = TopicPartition(topic, partition)
        answer = self.admin.delete_records({target: before}, timeout_ms=10_000)[target]
        return answer["low_watermark"] if isinstance(answer, dict) else answer.low_watermark

    def producer(self, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        return KafkaProducer(**self.common, compression_type=None if codec == "none" else codec, acks=acks,
                             enable_idempotence=idempotent, linger_ms=20, delivery_timeout_ms=45_000, request_timeout_ms=20_000,
                             retries=2**31, max_request_size=max_request_bytes or 1_048_576)

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        producer = self.producer(codec, acks, idempotent, max_request_bytes)
        try:
            sent = [producer.send(topic, record.value, record.key, record.headers or None, partition, record.timestamp_ms)
                    for record in records]
            producer.flush(40)
            return [future.get(10).offset for future in sent]
        finally:
            producer.close(10)

    def produce_each(self, topic, partitions):
        producer = self.producer()
        sent = [producer.send(topic, b"%d" % partition, partition=partition) for partition in range(partitions)]
        producer.flush(40)
        for future in sent:
            future.get(10)
        producer.close(10)

    def consumer(self, group=None, **options):
        return KafkaConsumer(**self.common, group_id=group, auto_offset_reset="earliest", enable_auto_commit=group is not None,
                             **options)

    def fetch(self, topic, count, partition=0, offset=0, timeout_s=20, options=None):
        asked = {}
        if options and "fetch_wait_ms" in options:
            asked = {"fetch_max_wait_ms": options["fetch_wait_ms"]}
        if options and "fetch_bytes" in options:
            asked = {"max_partition_fetch_bytes": options["fetch_bytes"], "fetch_max_bytes": options["fetch_bytes"]}
        consumer = self.consumer(**asked)
        target = TopicPartition(topic, partition)
        consumer.assign([target])
        consumer.seek(target, offset)
        return self.read(consumer, count, timeout_s)

    def fetch_all(self, topic, partitions, count, timeout_s=60):
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        consumer.seek_to_beginning()
        return self.read(consumer, count, timeout_s)

    def read(self, consumer, count, timeout_s):
        records, end = [], time.monotonic() + timeout_s
        try:
            while len(records) < count and time.monotonic() < end:
                for batch in consumer.poll(timeout_ms=200, max_records=min(500, count - len(records))).values():
                    records.extend(Record(message.value, message.key, list(message.headers), message.timestamp,
                                          message.offset, message.partition) for message in batch)
        finally:
            consumer.close()
        return records

    def watermarks(self, topic, partition=0):
        consumer, target = self.consumer(), TopicPartition(topic, partition)
        try:
            return consumer.beginning_offsets([target])[target], consumer.end_offsets([target])[target]
        finally:
            consumer.close()

    def offset_for_time(self, topic, timestamp_ms, partition=0):
        consumer, target = self.consumer(), TopicPartition(topic, partition)
        try:
            answer = consumer.offsets_for_times({target: timestamp_ms})[target]
        finally:
            consumer.close()
        return answer.offset if answer else None

    def subscribe_and_read(self, topic, group, count, timeout_s=40):
        consumer = self.consumer(group, session_timeout_ms=10_000, heartbeat_interval_ms=1000)
        consumer.subscribe([topic])
        return self.read(consumer, count, timeout_s)

    def committed(self, topic, group, partition=0):
        consumer = self.consumer(group)
        try:
            return consumer.committed(TopicPartition(topic, partition))
        finally:
            consumer.close()

    def sender(self, topic, idempotent):
        return Sender(self.producer(idempotent=idempotent), topic)


class Sender:
    def __init__(self, producer, topic):
        self.producer, self.topic, self.sent = producer, topic, []

    def send(self, value):
        self.sent.append((value, self.producer.send(self.topic, value, partition=0)))

    def finish(self, timeout_s):
        try:
            self.producer.flush(timeout_s)
        except Exception as error:  # noqa: BLE001  what was acknowledged counts all the same
            print(f"# flush: {error!r}")
        acknowledged = {value: future.value.offset for value, future in self.sent if future.succeeded()}
        self.producer.close(5)
        return acknowledged


checks.run(KafkaPython())
