//! What a reader needs to know to judge the figures: the same words in HTML and Markdown.

/// Statements about the method: heading and text.
pub const METHOD: [(&str, &str); 8] = [
    (
        "Open loop",
        "Every record has an intended time, set by a schedule that never waits for the broker. Latency counts from there: a \
         broker that stops for half a second is seen by every record that it made late.",
    ),
    (
        "Response, service, lag",
        "Produce is the response: from the intended time to the acknowledgement. Service counts from the write of the \
         request. Generator lag is what the generator itself added. Where it is more than 100 µs and 5 % of the response at \
         the same percentile, the client may have been the limit: ‡ marks such a percentile, and up to p99 it makes the \
         whole run INVALID.",
    ),
    (
        "Closed loop",
        "A step that is called a closed loop has no schedule: so many records are on their way at any time, and the next is \
         due when one is answered. It shows what a broker does at most; its latencies are not those of an open loop.",
    ),
    (
        "Percentiles",
        "Histograms of rounds are merged and percentiles are never averaged. † marks a percentile with fewer than 100 \
         samples beyond it; from p99.99 on it is not given at all. In curves that part is dotted.",
    ),
    (
        "Late without bound",
        "A record that failed, was dropped or passed its deadline ranks above every other. A percentile that falls there \
         reads “beyond deadline”.",
    ),
    (
        "Bands",
        "95 % bands come from a bootstrap over blocks of neighbouring one-second intervals (rounds first, then blocks \
         within them), because stalls are correlated. A ratio whose band contains 1 is no difference.",
    ),
    (
        "Correctness",
        "Every record carries its sequence number and a CRC, checked by consumers while measuring. A run that loses, \
         duplicates, reorders or corrupts a record is INVALID.",
    ),
    (
        "Floor",
        "The floor is the same harness against a broker within its own process that answers at once. No result below it \
         means anything.",
    ),
];
