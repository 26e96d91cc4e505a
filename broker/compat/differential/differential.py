"""Sends the same requests to Apache Kafka and to Monedula and compares the decoded answers.

    differential.py KAFKA MONEDULA [API...]      addresses as HOST:PORT

Every API that both advertise is asked at every version that both serve: with the cases of `cases.py`, and with a request
whose fields all have their defaults. Ids, times and addresses are set aside before comparing, and of error messages only
whether there is one where Kafka has one. A difference is printed with its place in the answer; `explained.txt` lists those that are meant to
be, a pattern and a reason each. Prints `N passed, N failed, N skipped` last; a case at one version counts once. All
cases are gone through whatever becomes of one; after LIMIT_S seconds (600) what is left counts as skipped.
"""
import fnmatch
import os
import re
import socket
import struct
import sys
import time
import uuid

import cases
import codec

APIS = codec.load()
NAMES = {request.api_key: name for name, (request, _) in APIS.items()}
TIMEOUT_S = 15


class Closed:
    """The broker closed the connection instead of answering."""

    def __repr__(self):
        return "the connection closed"


class Silent:
    """No answer came within the time limit."""

    def __repr__(self):
        return "no answer"


class Broker:
    def __init__(self, name, address):
        self.name, self.address, self.socket = name, address.rpartition(":"), None
        self.correlation_id = 0

    def ask(self, api, version, body, header_version=None, raw=None, timeout_s=TIMEOUT_S):
        """The decoded answer, or Closed or Silent."""
        request, response = APIS[api]
        data = request.encode(version, body) if raw is None else raw
        frame = self.round_trip(request.api_key, version, version in request.flexible, data, timeout_s)
        if not isinstance(frame, bytes):
            return frame
        reader = codec.Reader(frame)
        assert reader.fixed(">i") == self.correlation_id, f"{self.name} answers {api} v{version} with another correlation id"
        if version in response.flexible and api != "ApiVersions":
            for _ in range(reader.unsigned()):
                reader.unsigned()
                reader.take(reader.unsigned())
        rest = frame[reader.at:]
        if api == "ApiVersions" and version not in response.valid:
            version = 0
        try:
            return response.decode(version, rest)
        except (AssertionError, struct.error, UnicodeDecodeError) as error:
            return {"not decodable": f"{error}: {rest[:200].hex()}"}

    def round_trip(self, key, version, flexible, body, timeout_s):
        if self.socket is None:
            self.socket = socket.create_connection((self.address[0], int(self.address[2])), 10)
        self.socket.settimeout(timeout_s)
        self.correlation_id += 1
        name = b"differential"
        header = struct.pack(">hhih", key, version, self.correlation_id, len(name)) + name + (b"\0" if flexible else b"")
        try:
            self.socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            return self.receive(struct.unpack(">i", self.receive(4))[0])
        except TimeoutError:
            return self.forget(Silent())
        except (ConnectionError, EOFError):
            return self.forget(Closed())

    def receive(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def forget(self, why):
        self.socket.close()
        self.socket = None
        return why

    def versions(self):
        answer = self.ask("ApiVersions", 0, {})
        return {key["ApiKey"]: range(key["MinVersion"], key["MaxVersion"] + 1) for key in answer["ApiKeys"]}


# ---- comparing -------------------------------------------------------------------------------------------------------

IDS = re.compile(r"(TopicId|ClusterId|Host|Port|NodeId|BrokerId|LeaderId|Leader|ControllerId|MemberId|ProducerId|SessionId|LogDir|"
                 r"CoordinatorId|LogAppendTimeMs|TotalBytes|UsableBytes|PartitionSize|LastTimestamp|Rack)$")
NODES = {"ReplicaNodes", "IsrNodes", "OfflineReplicas", "EligibleLeaderReplicas", "LastKnownElr"}
MESSAGES = {"ErrorMessage", "BatchIndexErrorMessage"}


def plain(value, name=""):
    """The answer without what may differ between two brokers that behave alike."""
    if isinstance(value, dict):
        return {key: plain(inner, key) for key, inner in value.items() if key != "ThrottleTimeMs"}
    if isinstance(value, list):
        if name in NODES:
            return f"{len(value)} nodes"
        elements = [plain(element, name) for element in value]
        named = next((key for key in ("Name", "TopicName", "ResourceName", "PartitionIndex", "Partition", "Index", "GroupId") if
                      elements and isinstance(elements[0], dict) and key in elements[0]), None)
        return sorted(elements, key=lambda e: (str(e[named]).zfill(8), repr(e))) if named else elements
    if name in MESSAGES:
        return value if not value else "some text"
    if IDS.match(name):
        return ids(value)
    if isinstance(value, uuid.UUID):
        return ids(value)
    if isinstance(value, (bytes, bytearray)):
        return records(bytes(value)) if name == "Records" else bytes(value).hex()
    return value


def ids(value):
    """Whether an id is there at all is compared, its value is not."""
    if isinstance(value, uuid.UUID):
        return "id" if value.int else "no id"
    if isinstance(value, int):
        return "id" if value >= 0 else value
    return "id" if value else value


def records(data):
    """Whole batches without the leader epoch, which the CRC does not cover."""
    batches, at = [], 0
    while len(data) - at >= 12:
        base, length = struct.unpack_from(">qi", data, at)
        if at + 12 + length > len(data):
            break
        batches.append(f"{base}: {data[at + 16:at + 12 + length].hex()}")
        at += 12 + length
    return batches


def differences(kafka, monedula, place=""):
    if isinstance(kafka, dict) and isinstance(monedula, dict):
        for key in kafka.keys() | monedula.keys():
            yield from differences(kafka.get(key, "not there"), monedula.get(key, "not there"), f"{place}.{key}")
    elif isinstance(kafka, list) and isinstance(monedula, list):
        named = next((key for key in ("Name", "ConfigName") if all(isinstance(e, dict) and key in e for e in kafka + monedula)), None)
        if named and kafka + monedula:
            by_name = [{element[named]: element for element in side} for side in (kafka, monedula)]
            for name in sorted(by_name[0].keys() | by_name[1].keys(), key=str):
                yield from differences(by_name[0].get(name, "not there"), by_name[1].get(name, "not there"), f"{place}[{name}]")
            return
        if len(kafka) != len(monedula):
            yield place, f"{len(kafka)} elements: {short(kafka)}", f"{len(monedula)} elements: {short(monedula)}"
        for index, pair in enumerate(zip(kafka, monedula)):
            yield from differences(*pair, f"{place}[{index}]")
    # Where Kafka says nothing more than a code, Monedula may.
    elif kafka != monedula and not (kafka is None and place.rpartition(".")[2] in MESSAGES):
        yield place, short(kafka), short(monedula)


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"


class Rule:
    """A line of explained.txt: a place in an answer, with `*` and `?` as the only wildcards, and after a tab the reason."""

    def __init__(self, line):
        self.place, _, self.reason = line.partition("\t")
        assert self.reason.strip(), f"explained.txt says no reason: {line}"
        # Places have brackets.
        self.pattern, self.used = re.compile(fnmatch.translate(self.place.replace("[", "[[]"))), 0

    def explains(self, place):
        if self.pattern.match(place) is None:
            return False
        self.used += 1
        return True


class Verdicts:
    def __init__(self):
        self.passed = self.failed = self.skipped = self.explained = 0
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "explained.txt")) as lines:
            self.rules = [Rule(line.rstrip("\n")) for line in lines if line.strip() and not line.startswith("#")]

    def compare(self, what, kafka, monedula):
        if isinstance(kafka, dict) and isinstance(monedula, dict):
            found = list(differences(plain(kafka), plain(monedula)))
        else:
            found = [] if type(kafka) is type(monedula) else [("", short(kafka), short(monedula))]
        unexplained = [d for d in found if not any(rule.explains(f"{what}{d[0]}") for rule in self.rules)]
        if unexplained:
            self.failed += 1
        else:
            self.passed += 1
            self.explained += bool(found)
        for place, ours, theirs in unexplained[:12]:
            print(f"DIFFERENT {what}{place}: Kafka {ours}, Monedula {theirs}")
        if len(unexplained) > 12:
            print(f"DIFFERENT {what}: {len(unexplained) - 12} more")
        sys.stdout.flush()

    def broken(self, what, error):
        """A case that could not be played to its end: the run goes on with the next."""
        self.failed += 1
        print(f"BROKEN {what}: {type(error).__name__}: {error}", flush=True)


def plan(served):
    """What there is to ask: (name of the API or None for a raw frame, version, case)."""
    for key in sorted(served[0].keys() & served[1].keys()):
        name = NAMES.get(key)
        if name is None:
            continue
        for version in served[1][key]:
            if version in served[0][key] and version in APIS[name][0].valid:
                yield from ((name, version, case) for case in cases.of(name) if version in case.versions)
    yield from (("Frames", None, frame) for frame in cases.FRAMES.items())


def play(world, verdicts, name, version, case):
    if version is not None:
        return verdicts.compare(f"{name} v{version} {case.name}", *world.play(case, name, version))
    frame, (key, version, flexible, body) = case
    answers = [broker.round_trip(key, version, flexible, body, 5) for broker in world.brokers]
    ports = [struct.pack(">i", int(broker.address[2])).hex() for broker in world.brokers]
    answers = [{"bytes": answer[4:].hex().replace(port, "<port>")} if isinstance(answer, bytes) else answer
               for answer, port in zip(answers, ports)]
    verdicts.compare(f"Frames {frame}", *answers)


def main():
    until = time.monotonic() + float(os.environ.get("LIMIT_S", 600))
    kafka, monedula = Broker("Kafka", sys.argv[1]), Broker("Monedula", sys.argv[2])
    wanted = set(sys.argv[3:])
    served = [broker.versions() for broker in (kafka, monedula)]
    for key in sorted(served[0].keys() | served[1].keys()):
        name, (ours, theirs) = NAMES.get(key, str(key)), (side.get(key) for side in served)
        if ours != theirs:
            say = ["not advertised" if side is None else f"{side[0]}–{side[-1]}" for side in (ours, theirs)]
            print(f"# {name}: Kafka {say[0]}, Monedula {say[1]}")

    verdicts = Verdicts()
    world = cases.World([kafka, monedula])
    world.prepare()
    times = {}
    for name, version, case in plan(served):
        if wanted and name not in wanted:
            continue
        if time.monotonic() > until:
            verdicts.skipped += 1
            continue
        began = time.monotonic()
        try:
            play(world, verdicts, name, version, case)
        except Exception as error:  # noqa: BLE001  whatever it is, the other cases are still to be asked
            verdicts.broken(f"{name} v{version} {getattr(case, 'name', case)}", error)
        times[name] = times.get(name, 0) + time.monotonic() - began
    if verdicts.skipped:
        print(f"# out of time: {verdicts.skipped} cases were not asked; more time with LIMIT_S=SECONDS, or name some APIs")
    slowest = sorted(times.items(), key=lambda pair: -pair[1])[:5]
    print(f"# {sum(times.values()):.0f} s, most of it for " + ", ".join(f"{name} {spent:.0f}" for name, spent in slowest))
    if not wanted and not verdicts.skipped:
        for rule in verdicts.rules:
            if not rule.used:
                print(f"# nothing is explained any more by: {rule.place} ({rule.reason})")
    print(f"# {verdicts.explained} of those that passed differ as explained.txt says")
    print(f"{verdicts.passed} passed, {verdicts.failed} failed, {verdicts.skipped} skipped")
    sys.exit(1 if verdicts.failed or not verdicts.passed else 0)


if __name__ == "__main__":
    main()
