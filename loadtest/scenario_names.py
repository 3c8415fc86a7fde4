"""The scenarios there are, each with what it does in one line. A command line needs no more of them."""

MLPERF = {
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
ABOUT = {
    "single_stream": "MLPerf: one request at a time",
    "multi_stream": "MLPerf: eight at a time, answered when all are",
    "server": "MLPerf: Poisson arrivals near the highest rate within the SLO, p99 held against it",
    "offline": "MLPerf: everything at once",
    "steps": "open loop, Poisson arrivals at rising rates",
    "burst": "open loop at half of what it can do, five times that for 0.2 s of every 2 s",
    "soak": "open loop at half of what it can do, six times --seconds in as many points",
    "search": "the highest rate that keeps p99 under the SLO, with its 95 % confidence interval",
}
DEFAULT = ("single_stream", "multi_stream", "offline", "steps", "search", "server")
