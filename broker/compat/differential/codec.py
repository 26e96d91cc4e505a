"""Encodes requests and decodes responses of the Kafka protocol from its message definitions.

The definitions are the JSON files of Apache Kafka, which the package kafka-python carries; the code that reads them is
this file's own. A message is a dict with the definitions' field names; what a request leaves out gets its default.
"""
import importlib.resources
import json
import re
import struct
import uuid

FIXED = {"bool": ">?", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


class Versions:
    def __init__(self, text):
        self.low, self.high = 1, 0
        if text and text != "none":
            low, dash, high = text.partition("-")
            self.low = int(low.rstrip("+"))
            self.high = int(high) if dash else (1 << 15 if low.endswith("+") else self.low)

    def __contains__(self, version):
        return self.low <= version <= self.high


class Message:
    def __init__(self, definition):
        self.name = definition["name"]
        self.api_key = definition.get("apiKey")
        self.flexible = Versions(definition.get("flexibleVersions"))
        self.valid = Versions(definition["validVersions"])
        self.common = {s["name"]: s["fields"] for s in definition.get("commonStructs", [])}
        self.fields = definition["fields"]

    def encode(self, version, value):
        out = bytearray()
        self.write_struct(out, version, self.fields, value)
        return bytes(out)

    def decode(self, version, data):
        reader = Reader(data)
        value = self.read_struct(reader, version, self.fields)
        assert reader.at == len(data), f"{len(data) - reader.at} bytes left over"
        return value

    # ---- structs

    def write_struct(self, out, version, fields, value):
        unknown = set(value) - {field["name"] for field in fields}
        assert not unknown, f"{self.name} has no field {unknown}"
        tagged = []
        for field in fields:
            if version not in Versions(field["versions"]):
                continue
            given = value.get(field["name"], default(field))
            if version in Versions(field.get("taggedVersions")):
                if given != default(field):
                    tagged.append((field, given))
                continue
            self.write(out, version, field, field["type"], given)
        if version in self.flexible:
            write_unsigned(out, len(tagged))
            for field, given in sorted(tagged, key=lambda pair: pair[0]["tag"]):
                body = bytearray()
                self.write(body, version, field, field["type"], given)
                write_unsigned(out, field["tag"])
                write_unsigned(out, len(body))
                out += body

    def read_struct(self, reader, version, fields):
        value, tagged = {}, {}
        for field in fields:
            if version not in Versions(field["versions"]):
                continue
            if version in Versions(field.get("taggedVersions")):
                tagged[field["tag"]] = field
                value[field["name"]] = default(field)
                continue
            value[field["name"]] = self.read(reader, version, field, field["type"])
        if version in self.flexible:
            for _ in range(reader.unsigned()):
                tag, length = reader.unsigned(), reader.unsigned()
                body = Reader(reader.take(length))
                field = tagged.get(tag)
                if field is None:
                    value[f"unknown tag {tag}"] = body.data.hex()
                else:
                    value[field["name"]] = self.read(body, version, field, field["type"])
        return value

    def inner(self, field, name):
        return field.get("fields") or self.common[name]

    # ---- fields

    def write(self, out, version, field, kind, value):
        flexible = version in self.flexible
        if kind.startswith("[]"):
            write_length(out, flexible, None if value is None else len(value), ">i")
            for element in value or ():
                if kind[2:] in FIXED or kind[2:] in ("string", "bytes", "uuid"):
                    self.write(out, version, {"name": field["name"], "versions": "0+"}, kind[2:], element)
                else:
                    self.write_struct(out, version, self.inner(field, kind[2:]), element)
        elif kind in FIXED:
            out += struct.pack(FIXED[kind], value)
        elif kind == "uuid":
            out += (value or uuid.UUID(int=0)).bytes
        elif kind == "string":
            data = None if value is None else value.encode()
            write_length(out, flexible, None if data is None else len(data), ">h")
            out += data or b""
        elif kind in ("bytes", "records"):
            write_length(out, flexible, None if value is None else len(value), ">i")
            out += value or b""
        else:
            if version in Versions(field.get("nullableVersions")):
                out += b"\xff" if value is None else b"\x01"
                if value is None:
                    return
            self.write_struct(out, version, self.inner(field, kind), value)

    def read(self, reader, version, field, kind):
        flexible = version in self.flexible
        if kind.startswith("[]"):
            count = reader.length(flexible, ">i")
            if count is None:
                return None
            if kind[2:] in FIXED or kind[2:] in ("string", "bytes", "uuid"):
                return [self.read(reader, version, {"name": field["name"]}, kind[2:]) for _ in range(count)]
            return [self.read_struct(reader, version, self.inner(field, kind[2:])) for _ in range(count)]
        if kind in FIXED:
            return reader.fixed(FIXED[kind])
        if kind == "uuid":
            return uuid.UUID(bytes=reader.take(16))
        if kind == "string":
            length = reader.length(flexible, ">h")
            return None if length is None else reader.take(length).decode()
        if kind in ("bytes", "records"):
            length = reader.length(flexible, ">i")
            return None if length is None else reader.take(length)
        if version in Versions(field.get("nullableVersions")) and reader.fixed(">b") < 0:
            return None
        return self.read_struct(reader, version, self.inner(field, kind))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert 0 <= count <= len(self.data) - self.at, f"{count} bytes wanted, {len(self.data) - self.at} left"
        self.at += count
        return self.data[self.at - count:self.at]

    def fixed(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def length(self, flexible, form):
        length = self.unsigned() - 1 if flexible else self.fixed(form)
        return None if length < 0 else length


def write_unsigned(out, value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def write_length(out, flexible, length, form):
    if flexible:
        write_unsigned(out, 0 if length is None else length + 1)
    else:
        out += struct.pack(form, -1 if length is None else length)


def default(field):
    kind, given = field["type"], field.get("default")
    if given == "null":
        return None
    if kind.startswith("[]"):
        return []
    if kind == "bool":
        return given in (True, "true")
    if kind in FIXED:
        return float(given or 0) if kind == "float64" else int(str(given or 0), 0)
    if kind == "string":
        return given or ""
    if kind == "uuid":
        return uuid.UUID(int=0)
    if kind in ("bytes", "records"):
        return b""
    return {name["name"]: default(name) for name in field.get("fields", [])}


def load():
    """-> {api name: (request, response)}"""
    messages = {}
    for path in importlib.resources.files("kafka.protocol.schemas.resources").iterdir():
        if path.name.endswith(("Request.json", "Response.json")):
            text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
            message = Message(json.loads(text))
            messages[message.name] = message
    return {name.removesuffix("Request"): (request, messages[name.replace("Request", "Response")])
            for name, request in messages.items() if name.endswith("Request") and request.api_key is not None}


# ---- record batches ------------------------------------------------------------------------------------------------

def crc32c(data, table=[]):  # noqa: B006  the table is made once
    if not table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    out = bytearray()
    write_unsigned(out, (value << 1 ^ value >> 63) & 0xFFFFFFFFFFFFFFFF)
    return bytes(out)


def batch(values, timestamps=None, producer=(-1, -1, -1), attributes=0, magic=2, crc=None, count=None, key=None, deltas=None,
          body=None):
    """A v2 batch; the arguments after `producer` are there to make it wrong."""
    timestamps = timestamps or [1_700_000_000_000 + i for i in range(len(values))]
    records = b""
    for index, value in enumerate(values):
        delta = index if deltas is None else deltas[index]
        record = b"\0" + varint(timestamps[index] - timestamps[0]) + varint(delta)
        record += varint(-1) if key is None else varint(len(key)) + key
        record += (varint(-1) if value is None else varint(len(value)) + value) + varint(0)
        records += varint(len(record)) + record
    if body is not None:
        records = body
    count = len(values) if count is None else count
    last = (deltas[-1] if deltas else count - 1)
    checked = struct.pack(">hiqqqhii", attributes, last, timestamps[0], max(timestamps), *producer, count) + records
    crc = crc32c(checked) if crc is None else crc
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(checked), -1, magic, crc) + checked
