"""Compares a client's output with its allow list and prints the counts that matter.

    verdict.py tests.allow output

The allow list names the checks that must pass, one a line; it only grows. A listed check that did not pass is a
failure, whatever else the output says. A check that is not listed yet and fails counts as skipped.
"""
import os
import sys

allow_file, output_file = sys.argv[1:3]
with open(allow_file) as lines:
    allowed = [line.split("#")[0].strip() for line in lines]
allowed = [name for name in allowed if name]
chosen = set(filter(None, os.environ.get("CHECKS", "").split(",")))
if chosen:
    allowed = [name for name in allowed if name in chosen]
assert len(allowed) == len(set(allowed)), f"{allow_file} names a check twice"

verdicts = {}
with open(output_file, errors="replace") as lines:
    for line in lines:
        words = line.split(None, 2)
        if len(words) >= 2 and words[0] in ("ok", "FAIL", "skip"):
            verdicts[words[1]] = words[0]

missing = [name for name in allowed if verdicts.get(name) != "ok"]
unlisted = [name for name, verdict in verdicts.items() if verdict == "ok" and name not in allowed]
known = [name for name, verdict in verdicts.items() if verdict != "ok" and name not in allowed]
for name in missing:
    print(f"# must pass and did not: {name} ({verdicts.get(name, 'not run')})")
for name in unlisted:
    print(f"# passes and is not in tests.allow yet: {name}")
for name in known:
    print(f"# not in tests.allow, does not pass: {name} ({verdicts[name]})")
passed = len(allowed) - len(missing) + len(unlisted)
print(f"{passed} passed, {len(missing)} failed" + (f", {len(known)} skipped" if known else ""), flush=True)
sys.exit(1 if missing or not passed else 0)
