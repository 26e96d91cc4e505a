"""aiokafka as a `Client` of the common checks. Its coroutines run on one event loop in a thread of its own."""
import asyncio
import logging
import os
import sys
import threading
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete  # noqa: E402
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: E402
from aiokafka.errors import for_code  # noqa: E402
import checks  # noqa: E402
from checks import Record  # noqa: E402

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait(coroutine, timeout_s=60):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout_s)


def blocking(method):
    """A coroutine method that its caller sees as a plain one."""
    def call(*args, **kwargs):
        return wait(method(*args, **kwargs))
    return call


def accept(errors):
    for code, message in errors:
        if code:
            raise for_code(code)(message)


class Aiokafka(checks.Client):
    name = "aiokafka"
    sends_null_key_with_null_value = False

    def __init__(self):
        self.common = {"bootstrap_servers": checks.BOOTSTRAP}
        wait(self.start())

    async def start(self):
        self.admin = AIOKafkaAdminClient(**self.common)
        await self.admin.start()

    @blocking
    async def create_topic(self, topic, partitions=1, configs=None):
        answer = await self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or {})], 30_000)
        accept((error[1], str(error)) for error in answer.topic_errors)

    @blocking
    async def delete_topic(self, topic):
        answer = await self.admin.delete_topics([topic], 30_000)
        accept((error[1], str(error)) for error in answer.topic_error_codes)

    @blocking
    async def grow_topic(self, topic, partitions):
        await self.admin.create_partitions({topic: NewPartitions(partitions)}, 30_000)

    @blocking
    async def partitions_by_topic(self):
        return {topic["topic"]: len(topic["partitions"]) for topic in await self.admin.describe_topics()}

    @blocking
    async def cluster(self):
        described = await self.admin.describe_cluster()
        return described["cluster_id"], sorted(broker["node_id"] for broker in described["brokers"])

    @blocking
    async def topic_configs(self, topic):
        (answer,) = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        (resource,) = answer.resources
        accept([(resource[0], resource[1])])
        return {entry[0]: entry[1] for entry in resource[4]}

    @blocking
    async def set_topic_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        for answer in await self.admin.alter_configs([resource]):
            accept((resource[0], resource[1]) for resource in answer.resources)

    @blocking
    async def delete_records(self, topic, partition, before):
        target = TopicPartition(topic, partition)
        return (await self.admin.delete_records({target: RecordsToDelete(before)}))[target]

    async def producer(self, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        producer = AIOKafkaProducer(**self.common, compression_type=None if codec == "none" else codec, acks=acks,
                                    enable_idempotence=idempotent, linger_ms=20,
                                    max_request_size=max_request_bytes or 1_048_576)
        await producer.start()
        return producer

    @blocking
    async def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False, max_request_bytes=None):
        producer = await self.producer(codec, acks, idempotent, max_request_bytes)
        try:
            sent = [await producer.send(topic, record.value, record.key, partition, record.timestamp_ms, record.headers)
                    for record in records]
            acknowledged = await asyncio.gather(*sent)
        finally:
            await producer.stop()
        return [metadata.offset for metadata in acknowledged if metadata is not None]

    @blocking
    async def produce_each(self, topic, partitions):
        producer = await self.producer()
        await asyncio.gather(*[await producer.send(topic, b"%d" % p, partition=p) for p in range(partitions)])
        await producer.stop()

    async def consumer(self, group=None, topics=(), **options):
        consumer = AIOKafkaConsumer(*topics, **self.common, group_id=group, auto_offset_reset="earliest",
                                    enable_auto_commit=group is not None, **options)
        await consumer.start()
        return consumer

    @blocking
    async def fetch(self, topic, count, partition=0, offset=0, timeout_s=20, options=None):
        asked = {}
        if options and "fetch_wait_ms" in options:
            asked = {"fetch_max_wait_ms": options["fetch_wait_ms"]}
        if options and "fetch_bytes" in options:
            asked = {"max_partition_fetch_bytes": options["fetch_bytes"], "fetch_max_bytes": options["fetch_bytes"]}
        consumer = await self.consumer(**asked)
        target = TopicPartition(topic, partition)
        consumer.assign([target])
        consumer.seek(target, offset)
        return await self.read(consumer, count, timeout_s)

    @blocking
    async def fetch_all(self, topic, partitions, count, timeout_s=60):
        consumer = await self.consumer()
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        await consumer.seek_to_beginning()
        return await self.read(consumer, count, timeout_s)

    async def read(self, consumer, count, timeout_s):
        records, end = [], time.monotonic() + timeout_s
        try:
            while len(records) < count and time.monotonic() < end:
                for batch in (await consumer.getmany(timeout_ms=200, max_records=min(500, count - len(records)))).values():
                    records.extend(Record(message.value, message.key, list(message.headers), message.timestamp,
                                          message.offset, message.partition) for message in batch)
        finally:
            await consumer.stop()
        return records

    @blocking
    async def watermarks(self, topic, partition=0):
        consumer, target = await self.consumer(), TopicPartition(topic, partition)
        try:
            low = await consumer.beginning_offsets([target])
            return low[target], (await consumer.end_offsets([target]))[target]
        finally:
            await consumer.stop()

    @blocking
    async def offset_for_time(self, topic, timestamp_ms, partition=0):
        consumer, target = await self.consumer(), TopicPartition(topic, partition)
        try:
            answer = (await consumer.offsets_for_times({target: timestamp_ms}))[target]
        finally:
            await consumer.stop()
        return answer.offset if answer else None

    @blocking
    async def subscribe_and_read(self, topic, group, count, timeout_s=40):
        consumer = await self.consumer(group, [topic], session_timeout_ms=10_000, heartbeat_interval_ms=1000)
        return await self.read(consumer, count, timeout_s)

    @blocking
    async def committed(self, topic, group, partition=0):
        consumer = await self.consumer(group)
        try:
            return await consumer.committed(TopicPartition(topic, partition))
        finally:
            await consumer.stop()

    def sender(self, topic, idempotent):
        return Sender(wait(self.producer(idempotent=idempotent)), topic)


class Sender:
    def __init__(self, producer, topic):
        self.producer, self.topic, self.sent = producer, topic, []

    def send(self, value):
        self.sent.append((value, asyncio.run_coroutine_threadsafe(self.deliver(value), loop)))

    async def deliver(self, value):
        return await self.producer.send_and_wait(self.topic, value, partition=0)

    def finish(self, timeout_s):
        end = time.monotonic() + timeout_s
        acknowledged = {}
        for value, future in self.sent:
            try:
                acknowledged[value] = future.result(max(0.0, end - time.monotonic())).offset
            except Exception:  # noqa: BLE001  an unanswered one is not acknowledged
                pass
        wait(self.producer.stop())
        return acknowledged


checks.run(Aiokafka())
