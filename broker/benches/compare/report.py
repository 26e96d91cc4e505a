"""Makes the table of `run.sh` from its results: the median of the rounds of each side, and the ratio A ÷ B."""
import json
import statistics
import sys

ROWS = [
    ("open-durable", "p50_us", "open loop 1,000/s, both durable: p50 (µs)", "{:,.0f}", "≤ 0.50"),
    ("open-durable", "p99_us", "— p99 (µs)", "{:,.0f}", "≤ 0.20"),
    ("open-durable", "p999_us", "— p99.9 (µs)", "{:,.0f}", "≤ 0.20"),
    ("open-durable", "cpu_us_per_request", "— CPU per request (µs)", "{:,.0f}", ""),
    ("closed-1", "rate", "saturated, 1 record a request, Kafka not durable: requests/s", "{:,.0f}", "≥ 2.0"),
    ("closed-1", "cpu_us_per_request", "— CPU per request (µs)", "{:,.1f}", "≤ 0.25"),
    ("closed-1", "p99_us", "— p99 (µs)", "{:,.0f}", ""),
    ("closed-100", "mb_per_s", "saturated, 100 records a request, Kafka not durable: MB/s", "{:,.0f}", "≥ 1.3"),
    ("closed-100", "cpu_us_per_request", "— CPU per request (µs)", "{:,.1f}", "≤ 0.50"),
    ("closed-100", "p99_us", "— p99 (µs)", "{:,.0f}", ""),
    ("catch-up", "gb_per_s", "catch-up read (GB/s)", "{:,.2f}", "≥ 1.0"),
    ("catch-up", "cpu_s_per_gb", "— CPU (s/GB)", "{:,.3f}", "≤ 0.67"),
]

with open(sys.argv[1]) as lines:
    results = [json.loads(line) for line in lines]
name = {result["side"]: result["broker"] for result in results}
rounds = max(result["round"] for result in results)


def median(side, measure, field):
    values = [r["result"][field] for r in results if r["side"] == side and r["measure"] == measure]
    return statistics.median(values) if values else None


print(f"| {rounds} rounds in turns, medians | {name['a']} | {name['b']} | ratio | goal |")
print("|---|---:|---:|---:|---|")
for measure, field, label, form, goal in ROWS:
    a, b = median("a", measure, field), median("b", measure, field)
    if a is None or b is None:
        continue
    ratio = f"{a / b:.2f}" if b else "–"
    print(f"| {label} | {form.format(a)} | {form.format(b)} | {ratio} | {goal} |")
late = max(r["result"]["late_p999_us"] for r in results if r["measure"] == "open-durable")
print(f"\nThe open loop sent its requests at most {late:,.0f} µs late (p99.9 of the worst round); that is part of its latencies.")
