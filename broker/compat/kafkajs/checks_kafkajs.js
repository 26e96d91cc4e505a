// kafkajs's checks: the same names as the Python clients' in ../common/checks.py where the client can do the same, one
// line for each (`ok NAME`, `FAIL NAME why`, `skip NAME why`), the counts last. Environment as there.
const assert = require('assert')
const crypto = require('crypto')
const { execFile } = require('child_process')
const { Kafka, logLevel, CompressionTypes, CompressionCodecs, ConfigResourceTypes } = require('kafkajs')

const bootstrap = process.env.BOOTSTRAP || '127.0.0.1:9092'
const control = (process.env.BROKER_CONTROL || '').split(' ').filter(Boolean)
const wanted = new Set((process.env.CHECKS || '').split(',').filter(Boolean))
const limitMs = Number(process.env.CHECK_LIMIT_S || 60) * 1000

// ---- codecs that kafkajs leaves to other packages ------------------------------------------------------------------

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
// lz4js does not set the flag that says "blocks are independent", and Kafka takes no other frames. A frame of one block
// may carry it; the header's checksum byte follows the flags.
const lz4 = require('lz4js')
const { hash: xxhash32 } = require('lz4js/xxh32.js')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  async compress({ buffer }) {
    const frame = Buffer.from(lz4.compress(buffer))
    frame[4] |= 0x20
    frame[6] = (xxhash32(0, frame, 4, 2) >>> 8) & 0xff
    return frame
  },
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
const zstd = new Promise(resolve => require('zstd-codec').ZstdCodec.run(codec => resolve(new codec.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }) => Buffer.from((await zstd).compress(buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})

// ---- helpers -------------------------------------------------------------------------------------------------------

const kafka = new Kafka({ clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 4 } })
// For what has to live through a restart of the broker.
const patient = new Kafka({ clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.NOTHING, connectionTimeout: 2000,
  retry: { retries: 60, initialRetryTime: 100, maxRetryTime: 1000 } })
const admin = kafka.admin()
const opened = []

const unique = prefix => `${prefix}-${crypto.randomBytes(6).toString('hex')}`
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const numbered = count => [...Array(count).keys()].map(i => `record ${i}`)
const text = buffer => buffer === null ? null : buffer.toString()

async function until(condition, what, ms = 20000) {
  for (const end = Date.now() + ms; ; await sleep(50)) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`not within ${ms / 1000} s: ${what}`)
  }
}

async function refused(call, pattern) {
  let error
  try { await call() } catch (e) { error = e }
  assert(error, `accepted, expected ${pattern}`)
  const said = [error, error.cause, ...(error.errors || [])].filter(Boolean).map(e => `${e.name} ${e.type} ${e.message}`).join('; ')
  assert(pattern.test(said), `refused with ${said}, expected ${pattern}`)
}

async function newTopic(numPartitions = 1, configs = {}) {
  const topic = unique('compat')
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] })
  return topic
}

async function opening(client) {
  opened.push(client)
  await client.connect()
  return client
}

async function produce(topic, messages, { idempotent = false, partition = 0, acks = -1, compression } = {}) {
  const producer = await opening(kafka.producer({ allowAutoTopicCreation: false, idempotent, maxInFlightRequests: idempotent ? 1 : null, retry: { retries: 2 } }))
  const [answer] = await producer.send({ topic, acks, compression, messages: messages.map(m => ({ partition, ...(typeof m === 'string' ? { value: m } : m) })) })
  await producer.disconnect()
  return answer && Number(answer.baseOffset)
}

// kafkajs fetches in groups only; without `group` it is a new one.
async function read(topic, count, { group = unique('group'), offset, timeoutMs = 30000, autoCommit = false, client = kafka, ...options } = {}) {
  const consumer = client.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 1000, maxWaitTimeInMs: 500, ...options })
  opened.push(consumer)
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const got = []
  await consumer.run({ autoCommit, eachMessage: async ({ partition, message }) => { if (got.length < count) got.push({ partition, ...message }) } })
  if (offset !== undefined) consumer.seek({ topic, partition: 0, offset: String(offset) })
  await until(() => got.length >= count, `${count} records (${got.length} came)`, timeoutMs)
  await consumer.disconnect()
  return got
}

async function topicConfigs(topic) {
  const { resources: [resource] } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
  return Object.fromEntries(resource.configEntries.map(entry => [entry.configName, entry.configValue]))
}

const setTopicConfig = (topic, name, value) => admin.alterConfigs({ validateOnly: false,
  resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }] })

async function watermarks(topic) {
  const [offsets] = await admin.fetchTopicOffsets(topic)
  return [Number(offsets.low), Number(offsets.high)]
}

const calm = async call => { try { return await call() } catch { return undefined } }
const partitionCount = async topic => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
const say = word => new Promise((resolve, reject) => execFile(control[0], [...control.slice(1), word], { timeout: 60000 }, error => error ? reject(error) : resolve()))

class Skip extends Error {}

// ---- the checks ----------------------------------------------------------------------------------------------------

const checks = {
  async 'cluster'() {
    const first = await admin.describeCluster()
    assert(first.clusterId && first.brokers.length, JSON.stringify(first))
    assert.strictEqual((await admin.describeCluster()).clusterId, first.clusterId)
  },
  async 'topic-life'() {
    const topic = await newTopic(3)
    assert.strictEqual(await partitionCount(topic), 3)
    assert((await admin.listTopics()).includes(topic))
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic), 'the topic to be gone')
  },
  async 'topic-exists'() {
    const topic = await newTopic()
    assert.strictEqual(await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] }), false)
  },
  async 'topic-names'() {
    for (const topic of ['with space', 'a'.repeat(250), '..']) {
      await refused(() => admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] }), /INVALID_TOPIC/)
    }
  },
  async 'topic-grows'() {
    const topic = await newTopic(2)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    await until(async () => await partitionCount(topic) === 5, 'five partitions')
    assert.strictEqual(await produce(topic, numbered(1), { partition: 4 }), 0)
    await refused(() => admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }), /INVALID_PARTITIONS/)
  },
  async 'topic-unknown'() {
    await refused(() => admin.deleteTopics({ topics: [unique('nowhere')], timeout: 3000 }), /UNKNOWN_TOPIC/)
  },
  async 'configs-described'() {
    const configs = await topicConfigs(await newTopic(1, { 'retention.ms': '7654321' }))
    const some = { 'retention.ms': '7654321', 'cleanup.policy': 'delete', 'max.message.bytes': '1048588', 'compression.type': 'producer',
      'segment.bytes': '1073741824', 'message.timestamp.type': 'CreateTime' }
    for (const [name, value] of Object.entries(some)) assert.strictEqual(configs[name], value, name)
  },
  async 'configs-altered'() {
    const topic = await newTopic()
    await setTopicConfig(topic, 'retention.ms', '1234567')
    await until(async () => (await topicConfigs(topic))['retention.ms'] === '1234567', 'the altered value')
    await refused(() => setTopicConfig(topic, 'retention.ms', 'soon'), /INVALID_CONFIG/)
  },
  async 'records-deleted'() {
    const topic = await newTopic()
    await produce(topic, numbered(20))
    await admin.fetchTopicOffsets(topic)    // kafkajs asks the leader that it already knows
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '12' }] })
    assert.deepStrictEqual(await watermarks(topic), [12, 20])
    assert.strictEqual((await read(topic, 8))[0].offset, '12')
  },
  async 'produce-in-order'() {
    const topic = await newTopic(3)
    for (let partition = 0; partition < 3; partition++) {
      assert.strictEqual(await produce(topic, numbered(1000), { partition }), 0)
    }
    const got = await read(topic, 3000)
    for (let partition = 0; partition < 3; partition++) {
      const there = got.filter(m => m.partition === partition)
      assert.deepStrictEqual(there.map(m => text(m.value)), numbered(1000))
      assert.deepStrictEqual(there.map(m => Number(m.offset)), [...Array(1000).keys()])
    }
  },
  ...Object.fromEntries([['0', 0], ['1', 1], ['all', -1]].map(([name, acks]) => [`produce-acks-${name}`, async () => {
    const topic = await newTopic()
    await produce(topic, numbered(100), { acks })
    assert.deepStrictEqual((await read(topic, 100)).map(m => text(m.value)), numbered(100))
  }])),
  async 'produce-idempotent'() {
    const topic = await newTopic()
    for (let i = 0; i < 600; i += 200) assert.strictEqual(await produce(topic, numbered(600).slice(i, i + 200), { idempotent: true }), i)
    assert.deepStrictEqual((await read(topic, 600)).map(m => text(m.value)), numbered(600))
  },
  async 'null-and-empty'() {
    const topic = await newTopic()
    const sent = [{ key: 'k', value: 'v' }, { key: 'tombstone', value: null }, { key: 'empty value', value: '' }, { key: null, value: 'no key' },
      { key: '', value: 'empty key' }, { key: null, value: null }]
    await produce(topic, sent)
    assert.deepStrictEqual((await read(topic, 6)).map(m => ({ key: text(m.key), value: text(m.value) })), sent)
  },
  async 'headers'() {
    const topic = await newTopic()
    const bytes = Buffer.from([...Array(256).keys()])
    await produce(topic, [{ value: 'v', headers: { a: ['1', '2'], bytes, empty: '', 'unicode-ü': 'ü' } }, { value: 'none' }])
    const [{ headers }, none] = await read(topic, 2)
    assert.deepStrictEqual(headers.a.map(text), ['1', '2'])
    assert(bytes.equals(headers.bytes))
    assert.deepStrictEqual([text(headers.empty), text(headers['unicode-ü'])], ['', 'ü'])
    assert.deepStrictEqual(none.headers, {})
  },
  async 'one-byte'() {
    const topic = await newTopic()
    await produce(topic, Array(300).fill('x'))
    assert.deepStrictEqual((await read(topic, 300)).map(m => text(m.value)), Array(300).fill('x'))
  },
  async 'one-megabyte'() {
    const topic = await newTopic()
    const sent = [...Array(6)].map(() => crypto.randomBytes(1000000))
    for (const value of sent) await produce(topic, [{ value }])
    const got = await read(topic, 6, { maxBytesPerPartition: 2000000 })
    assert(got.every((m, i) => m.value.equals(sent[i])))
  },
  async 'too-large'() {
    const topic = await newTopic(1, { 'max.message.bytes': '10000' })
    await refused(() => produce(topic, [{ value: 'z'.repeat(20000) }]), /MESSAGE_TOO_LARGE/)
    assert.strictEqual(await produce(topic, [{ value: 'z'.repeat(5000) }]), 0)
  },
  ...Object.fromEntries(Object.entries(CompressionTypes).map(([name, compression]) => [`codec-${name.toLowerCase()}`, async () => {
    const topic = await newTopic()
    const sent = numbered(500).map(value => value.repeat(20))
    await produce(topic, sent, { compression })
    assert.deepStrictEqual((await read(topic, 500)).map(m => text(m.value)), sent)
  }])),
  async 'codecs-mixed'() {
    const topic = await newTopic()
    const sent = numbered(250)
    for (const [i, compression] of Object.values(CompressionTypes).entries()) await produce(topic, sent.slice(50 * i, 50 * i + 50), { compression })
    assert.deepStrictEqual((await read(topic, 250)).map(m => text(m.value)), sent)
    assert.deepStrictEqual((await read(topic, 25, { offset: 225 })).map(m => text(m.value)), sent.slice(225))
  },
  async 'seek'() {
    const topic = await newTopic()
    await produce(topic, numbered(300))
    for (const offset of [299, 150, 1]) {
      const got = await read(topic, Math.min(3, 300 - offset), { offset })
      assert.deepStrictEqual([got[0].offset, text(got[0].value)], [String(offset), `record ${offset}`])
    }
  },
  async 'watermarks'() {
    const topic = await newTopic()
    assert.deepStrictEqual(await watermarks(topic), [0, 0])
    await produce(topic, numbered(17))
    assert.deepStrictEqual(await watermarks(topic), [0, 17])
  },
  async 'long-poll'() {
    const topic = await newTopic()
    const consumer = await opening(kafka.consumer({ groupId: unique('group'), sessionTimeout: 30000, heartbeatInterval: 1000, maxWaitTimeInMs: 20000 }))
    await consumer.subscribe({ topic, fromBeginning: true })
    let first = 0, second = 0
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { if (text(message.value) === 'first') first = Date.now(); else second = Date.now() } })
    await produce(topic, ['first'])
    await until(() => first, 'the first record', 40000)
    await sleep(1500)    // long enough for the next fetch to wait at the end of the log
    const sentAt = Date.now()
    await produce(topic, ['second'])
    await until(() => second, 'the second record', 25000)
    assert(second - sentAt < 5000, `woke ${second - sentAt} ms after the record`)
  },
  async 'small-fetch-limits'() {
    const topic = await newTopic()
    for (let i = 0; i < 4; i++) await produce(topic, [{ value: String(i).repeat(50000) }])
    assert.deepStrictEqual((await read(topic, 4, { maxBytesPerPartition: 1000, maxBytes: 1000 })).map(m => m.value.length), Array(4).fill(50000))
  },
  async 'create-time'() {
    const topic = await newTopic()
    const sent = [...Array(5).keys()].map(i => String(1600000000000 + 1000 * i))
    await produce(topic, sent.map(timestamp => ({ value: 'v', timestamp })))
    assert.deepStrictEqual((await read(topic, 5)).map(m => m.timestamp), sent)
  },
  async 'log-append-time'() {
    const topic = await newTopic(1, { 'message.timestamp.type': 'LogAppendTime' })
    const before = Date.now()
    await produce(topic, [{ value: 'v', timestamp: '1600000000000' }])
    const got = Number((await read(topic, 1))[0].timestamp)
    assert(got >= before - 1000 && got <= Date.now() + 1000, `timestamp ${got}, sent at ${before}`)
  },
  async 'offsets-for-times'() {
    const topic = await newTopic()
    const base = 1700000000000
    const at = (from, to) => [...Array(to - from).keys()].map(i => ({ value: 'v', timestamp: String(base + 1000 * (from + i)) }))
    await produce(topic, at(0, 20))
    await produce(topic, at(20, 40), { compression: CompressionTypes.GZIP })
    for (const [timestamp, offset] of [[base, 0], [base + 1, 1], [base + 5500, 6], [base + 25000, 25], [base + 38001, 39], [base + 39001, 40]]) {
      assert.strictEqual(Number((await admin.fetchTopicOffsetsByTimestamp(topic, timestamp))[0].offset), offset, `base+${timestamp - base}`)
    }
  },
  async 'thousand-partitions'() {
    const topic = await newTopic(1000)
    await until(async () => await partitionCount(topic) === 1000, '1,000 partitions')
    // A broker may name a leader before that leader is ready, and kafkajs reports the first refusal.
    await until(() => calm(async () => (await admin.fetchTopicOffsets(topic)).length === 1000), '1,000 leaders', 40000)
    const producer = await opening(kafka.producer({ allowAutoTopicCreation: false }))
    await producer.send({ topic, messages: [...Array(1000).keys()].map(partition => ({ partition, value: String(partition) })) })
    const got = await read(topic, 1000, { timeoutMs: 50000 })
    assert(got.every(m => text(m.value) === String(m.partition)))
    assert.strictEqual(new Set(got.map(m => m.partition)).size, 1000)
  },
  async 'autocommit-resumes'() {
    const topic = await newTopic(), group = unique('group')
    await produce(topic, numbered(60).slice(0, 40))
    assert.deepStrictEqual((await read(topic, 40, { group, autoCommit: true })).map(m => text(m.value)), numbered(40))
    assert.strictEqual((await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions[0].offset, '40')
    await produce(topic, numbered(60).slice(40))
    assert.deepStrictEqual((await read(topic, 20, { group, autoCommit: true })).map(m => text(m.value)), numbered(60).slice(40))
  },
  async 'group-all-partitions'() {
    const topic = await newTopic(4)
    for (let partition = 0; partition < 4; partition++) await produce(topic, numbered(10), { partition })
    const got = await read(topic, 40)
    assert.strictEqual(new Set(got.map(m => `${m.partition}/${m.offset}`)).size, 40)
  },
  async 'kill-acknowledged'() { await killUnderLoad(false) },
  async 'kill-idempotent'() { await killUnderLoad(true) },
  async 'kill-committed'() {
    if (!control.length) throw new Skip('BROKER_CONTROL is not set')
    const topic = await newTopic(1, { 'retention.ms': '99999999' }), group = unique('group')
    await produce(topic, numbered(30))
    await read(topic, 30, { group, autoCommit: true })
    await say('kill')
    await say('restart')
    await until(() => calm(async () => await partitionCount(topic) === 1 && await watermarks(topic)), 'the topic after the restart', 30000)
    assert.strictEqual((await topicConfigs(topic))['retention.ms'], '99999999')
    assert.deepStrictEqual(await watermarks(topic), [0, 30])
    await produce(topic, ['after'])
    assert.deepStrictEqual((await read(topic, 1, { group, autoCommit: true, client: patient })).map(m => text(m.value)), ['after'])
  },
}

// kill -9 while a producer sends: what was acknowledged is there afterwards at the offset that was told; of an idempotent
// producer, whose retries go on across the restart, everything is there once and in order.
async function killUnderLoad(idempotent) {
  if (!control.length) throw new Skip('BROKER_CONTROL is not set')
  const topic = await newTopic()
  const producer = await opening(patient.producer({ allowAutoTopicCreation: false, idempotent, maxInFlightRequests: 1 }))
  const acknowledged = new Map(), sent = []
  let restarted
  for (let i = 0; i < 150; i++) {
    if (i === 75) restarted = say('kill').then(() => say('restart'))
    const batch = [...Array(10).keys()].map(j => `${i}.${j}`)
    sent.push(...batch)
    try {
      const [answer] = await producer.send({ topic, messages: batch.map(value => ({ value, partition: 0 })) })
      batch.forEach((value, j) => acknowledged.set(value, Number(answer.baseOffset) + j))
    } catch (error) {
      if (idempotent) throw error
    }
    await sleep(5)
  }
  await restarted
  const [, end] = await watermarks(topic)
  const stored = new Map((await read(topic, end, { client: patient, timeoutMs: 40000 })).map(m => [Number(m.offset), text(m.value)]))
  assert(acknowledged.size >= 500, `only ${acknowledged.size} acknowledged`)
  for (const [value, offset] of acknowledged) assert.strictEqual(stored.get(offset), value, `acknowledged record at offset ${offset}`)
  if (idempotent) assert.deepStrictEqual([...stored.values()], sent)
}

async function main() {
  const count = { ok: 0, FAIL: 0, skip: 0 }
  await admin.connect()
  for (const [name, check] of Object.entries(checks)) {
    if (wanted.size && !wanted.has(name)) continue
    const started = Date.now()
    let timer, verdict = 'ok', why = ''
    const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`still running after ${limitMs / 1000} s`)), limitMs) })
    try {
      await Promise.race([check(), limit])
    } catch (error) {
      verdict = error instanceof Skip ? 'skip' : 'FAIL'
      why = ` ${error.name}: ${String(error.message).replace(/\s+/g, ' ').slice(0, 400)}`
    }
    clearTimeout(timer)
    await Promise.all(opened.splice(0).map(client => Promise.race([client.disconnect().catch(() => {}), sleep(5000)])))
    count[verdict]++
    console.log(`${verdict.padEnd(4)} ${name}${why} [${((Date.now() - started) / 1000).toFixed(1)} s]`)
  }
  console.log(`${count.ok} passed, ${count.FAIL} failed${count.skip ? `, ${count.skip} skipped` : ''}`)
  process.exit(count.FAIL || !count.ok ? 1 : 0)
}

process.on('unhandledRejection', () => {})    // kafkajs rejects promises that nobody holds when a broker dies
main().catch(error => { console.log(`FAIL the-script ${error.stack}\n0 passed, 1 failed`); process.exit(1) })
