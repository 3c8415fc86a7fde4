"""wrk, the light load generator: POSTs one file over N connections and reports exact percentiles."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measurement import Measurement

_SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*all")
file:close()
{headers}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


JPEG = {"Content-Type": "image/jpeg"}


def measure(
    url: str,
    body: Path,
    connections: int,
    seconds: float,
    deadline: float = 60.0,
    headers: Mapping[str, str] = JPEG,
) -> Measurement:
    """Closed loop: each connection sends its next request when the last was answered.

    A service of ours is given `deadline` seconds for each, and so refuses none.
    Raises RuntimeError where any request failed: errors must never count as fast answers.
    """
    sent = {**headers, "X-Request-Deadline-Ms": f"{1000 * deadline:.0f}"}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in sent.items())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(body=body, headers=lines))
        script.flush()
        length = f"{max(1, round(seconds))}s"
        # A slow server is no failed one: wrk gives up on answers after two seconds unless told.
        command = ["wrk", "-t1", f"-c{connections}", f"-d{length}", "--timeout", "30s", "-s", script.name, url]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    if result["errors"] or not result["requests"]:
        raise RuntimeError(f"{result['errors']} of {result['requests']} requests to {url} failed:\n{done.stdout}")
    return Measurement(result["requests"], result["microseconds"] / 1e6, result["p50"] / 1000, result["p99"] / 1000)
