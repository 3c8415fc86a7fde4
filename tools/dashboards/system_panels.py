"""The dashboard's lower half: models, routes, upstreams, access, processes."""

from tools.dashboards.panels import MODEL, SCOPE, Panel, Row, quantile, rate

_JOB = f'job="gateway", {SCOPE}'
_AGREED = f'{SCOPE}, agreement="agreed"'

_MODELS = (
    Panel("Versions that answer", "short", "In how many gateways (or workers) each is available.").ask(
        f'sum by (model, version) (model_server_version_state{{{MODEL}, state="AVAILABLE"}})', "{{model}}/{{version}}"
    ),
    Panel("Calls by a route's target", "reqps", "A split's weights are seen here.").ask(
        rate("model_server_route_calls_total", "route, target", SCOPE), "{{route}} to {{target}}"
    ),
    Panel("Fallbacks", "reqps", "Calls that a target could not answer, by the code of its failure.").ask(
        rate("model_server_route_fallbacks_total", "target, code", SCOPE), "{{target}} {{code}}"
    ),
    Panel("p95 by route", "s", "From the route's choice to the answer.").ask(
        quantile(0.95, "model_server_route_seconds", "le, route", SCOPE), "{{route}}"
    ),
    Panel("Shadow agrees", "percentunit", "Images on which shadow and answer have the same label.", most=1.0).ask(
        f"{rate('model_server_shadow_rows_total', 'target', _AGREED)} / "
        f"{rate('model_server_shadow_rows_total', 'target', SCOPE)}",
        "{{target}}",
    ),
    Panel("Shadow's time over the answer's", "short", "Median; below 1 it is faster.").ask(
        quantile(0.5, "model_server_shadow_latency_ratio", "le, target", SCOPE), "{{target}}"
    ),
    Panel("Shadow calls", "reqps", "Compared, or why not.").ask(
        rate("model_server_shadow_calls_total", "outcome", SCOPE), "{{outcome}}"
    ),
)
_FAILURES = Panel("Failures, retries, hedges", "reqps", "Of all replicas.")
for _what in ("failures", "retries", "hedges"):
    _FAILURES = _FAILURES.ask(f"sum(rate(model_server_upstream_{_what}_total{{{SCOPE}}}[$__rate_interval]))", _what)
_UPSTREAMS = (
    Panel("Latency of a replica", "s", "What its answers take of late; the worst gateway's view.").ask(
        f"max by (replica) (model_server_upstream_latency_seconds{{{SCOPE}}})", "{{replica}}"
    ),
    Panel("Under way at a replica", "short", "Of all gateways.").ask(
        f"sum by (replica) (model_server_upstream_outstanding{{{SCOPE}}})", "{{replica}}"
    ),
    Panel("Replicas that are out", "short", "1 where a gateway sends it nothing.").ask(
        f"max by (replica) (model_server_upstream_ejected{{{SCOPE}}})", "{{replica}}"
    ),
    Panel("Attempts", "reqps", "Requests to each replica, retries and hedges too.", stack=True).ask(
        rate("model_server_upstream_attempts_total", "replica", SCOPE), "{{replica}}"
    ),
    _FAILURES,
)
_ACCESS = (
    Panel("Predictions by key", "reqps", "Admitted, or past the key's rate.").ask(
        rate("model_server_key_predictions_total", "key, outcome", SCOPE), "{{key}} {{outcome}}"
    ),
    Panel("Turned away", "reqps", "No valid key, by protocol; connections ended before they asked, by reason.")
    .ask(rate("model_server_unauthenticated_total", "protocol", SCOPE), "no key, {{protocol}}")
    .ask(rate("model_server_connections_refused_total", "reason", SCOPE), "{{reason}}"),
    Panel("Files refused", "short", "1 while keys, certificates or routes on disk cannot be used.")
    .ask(f"max by (what) (model_server_files_refused{{{SCOPE}}})", "{{what}}")
    .ask(f"1 - min(model_server_routes_valid{{{SCOPE}}})", "routes"),
    Panel("Files reloaded", "short", "Since the start.")
    .ask(f"sum by (what, outcome) (model_server_reloads_total{{{SCOPE}}})", "{{what}} {{outcome}}")
    .ask(f"sum by (outcome) (model_server_routes_reloads_total{{{SCOPE}}})", "routes {{outcome}}"),
)
_PROCESSES = (
    Panel("Processors", "short", "In use, of all workers of a gateway.").ask(
        f"sum by (instance) (rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval]))", "{{instance}}"
    ),
    Panel("Memory", "bytes", "In RAM, of all workers of a gateway.").ask(
        f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"
    ),
    Panel("Open files and sockets", "percentunit", "Of what a process may have.").ask(
        f"process_open_fds{{{_JOB}}} / process_max_fds", "{{instance}}"
    ),
    Panel("Age, and starts of workers", "s", "Seconds since the start; a worker that dies is started again.")
    .ask(f"time() - process_start_time_seconds{{{_JOB}}}", "{{instance}}")
    .ask(f"model_server_worker_starts_total{{{SCOPE}}}", "starts, {{instance}}"),
    Panel("Versions of the gateway", "short", "One, but for the time of a rollout.").ask(
        f"count by (version) (model_server_build_info{{{SCOPE}}})", "{{version}}"
    ),
)
BEHIND = (
    Row("Models and routes", _MODELS),
    Row("TensorFlow Serving, as the gateways see it", _UPSTREAMS),
    Row("Access and files", _ACCESS),
    Row("Processes", _PROCESSES),
)
