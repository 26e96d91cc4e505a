"""confluent-kafka (librdkafka) as a `Client` of the common checks."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,  # noqa: E402
                                   NewTopic, ResourceType)
import checks  # noqa: E402
from checks import Record  # noqa: E402


class Confluent(checks.Client):
    name = "confluent-kafka"

    def __init__(self):
        self.common = {"bootstrap.servers": checks.BOOTSTRAP, "log_level": 0}
        self.admin = AdminClient(self.common)

    def create_topic(self, topic, partitions=1, configs=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=configs or {})
        self.admin.create_topics([new])[topic].result(30)

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(30)

    def grow_topic(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)

    def partitions_by_topic(self):
        return {name: len(topic.partitions) for name, topic in self.admin.list_topics(timeout=10).topics.items()}

    def cluster(self):
        described = self.admin.describe_cluster().result(10)
        return described.cluster_id, sorted(node.id for node in described.nodes)

    def topic_configs(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {name: entry.value for name, entry in self.admin.describe_configs([resource])[resource].result(10).items()}

    def set_topic_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(10)

    def delete_records(self, topic, partition, before):
        target = TopicPartition(topic, partition, before)
        return self.admin.delete_records([target])[target].result(10).low_watermark

    def producer(self, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        return Producer({**self.common, "compression.type": codec, "acks": acks, "enable.idempotence": idempotent,
                         "linger.ms": 20, "message.timeout.ms": 40_000,
                         "message.max.bytes": max_request_bytes or 1_000_000})

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        producer = self.producer(codec, acks, idempotent, max_request_bytes)
        reports = []
        for record in records:
            producer.produce(topic, record.value, record.key, partition, headers=record.headers or None,
                             timestamp=record.timestamp_ms or 0, on_delivery=lambda e, m: reports.append((e, m.offset())))
            producer.poll(0)
        checks.equal(producer.flush(40), 0, "records left in the producer's queue")
        for error, _ in reports:
            if error is not None:
                raise KafkaException(error)
        return [offset for _, offset in reports]

    def produce_each(self, topic, partitions):
        producer = self.producer()
        errors = []
        for partition in range(partitions):
            producer.produce(topic, b"%d" % partition, partition=partition, on_delivery=lambda e, _: e and errors.append(e))
            producer.poll(0)
        checks.equal(producer.flush(40), 0, "records left in the producer's queue")
        checks.equal(errors, [], "delivery errors")

    def consumer(self, group=None, **options):
        return Consumer({**self.common, "group.id": group or checks.unique("none"), "auto.offset.reset": "earliest",
                         "enable.auto.commit": group is not None, "session.timeout.ms": 10_000, **options})

    def fetch(self, topic, count, partition=0, offset=0, timeout_s=20, options=None):
        asked = {}
        if options and "fetch_wait_ms" in options:
            asked = {"fetch.wait.max.ms": options["fetch_wait_ms"], "socket.timeout.ms": 60_000}
        if options and "fetch_bytes" in options:
            asked = {"fetch.message.max.bytes": options["fetch_bytes"]}
        consumer = self.consumer(**asked)
        consumer.assign([TopicPartition(topic, partition, offset)])
        return self.read(consumer, count, timeout_s)

    def fetch_all(self, topic, partitions, count, timeout_s=60):
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        return self.read(consumer, count, timeout_s)

    def read(self, consumer, count, timeout_s):
        records, end = [], time.monotonic() + timeout_s
        try:
            while len(records) < count and time.monotonic() < end:
                for message in consumer.consume(min(1000, count - len(records)), timeout=0.2):
                    if message.error():
                        raise KafkaException(message.error())
                    records.append(Record(message.value(), message.key(), message.headers() or [], message.timestamp()[1],
                                          message.offset(), message.partition()))
        finally:
            consumer.close()
        return records

    def watermarks(self, topic, partition=0):
        consumer = self.consumer()
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        finally:
            consumer.close()

    def offset_for_time(self, topic, timestamp_ms, partition=0):
        consumer = self.consumer()
        try:
            answer = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp_ms)], timeout=20)[0]
        finally:
            consumer.close()
        if answer.error:
            raise KafkaException(answer.error)
        return answer.offset

    def subscribe_and_read(self, topic, group, count, timeout_s=40):
        consumer = self.consumer(group)
        consumer.subscribe([topic])
        return self.read(consumer, count, timeout_s)

    def committed(self, topic, group, partition=0):
        consumer = self.consumer(group)
        try:
            return consumer.committed([TopicPartition(topic, partition)], timeout=20)[0].offset
        finally:
            consumer.close()

    def sender(self, topic, idempotent):
        return Sender(self.producer(idempotent=idempotent), topic)


class Sender:
    def __init__(self, producer, topic):
        self.producer, self.topic, self.acknowledged = producer, topic, {}

    def send(self, value):
        self.producer.produce(self.topic, value, partition=0, on_delivery=self.delivered)
        self.producer.poll(0)

    def delivered(self, error, message):
        if error is None:
            self.acknowledged[message.value()] = message.offset()

    def finish(self, timeout_s):
        self.producer.flush(timeout_s)
        return self.acknowledged


checks.run(Confluent())
