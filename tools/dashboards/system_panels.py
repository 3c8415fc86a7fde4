"""The dashboard's lower half: models, routes, upstreams, access, processes."""

from tools.dashboards.panels import MODEL, SCOPE, Panel, Query, Row, quantile, rate

BEHIND: tuple[Row, ...] = (
    Row(
        "Models and routes",
        (
            Panel(
                "Versions that answer",
                "In how many gateways (or workers) each is available.",
                "short",
                (
                    Query(
                        f'sum by (model, version) (model_server_version_state{{{MODEL}, state="AVAILABLE"}})',
                        "{{model}}/{{version}}",
                    ),
                ),
            ),
            Panel(
                "Calls by a route's target",
                "A split's weights are seen here.",
                "reqps",
                (Query(rate("model_server_route_calls_total", "route, target", SCOPE), "{{route}} to {{target}}"),),
            ),
            Panel(
                "Fallbacks",
                "Calls that a target could not answer, by the code of its failure.",
                "reqps",
                (Query(rate("model_server_route_fallbacks_total", "target, code", SCOPE), "{{target}} {{code}}"),),
            ),
            Panel(
                "p95 by route",
                "From the route's choice to the answer.",
                "s",
                (Query(quantile(0.95, "model_server_route_seconds", "le, route", SCOPE), "{{route}}"),),
            ),
            Panel(
                "Shadow agrees",
                "Images on which shadow and answer have the same label.",
                "percentunit",
                (
                    Query(
                        rate("model_server_shadow_rows_total", "target", f'{SCOPE}, agreement="agreed"')
                        + " / "
                        + rate("model_server_shadow_rows_total", "target", SCOPE),
                        "{{target}}",
                    ),
                ),
                most=1.0,
            ),
            Panel(
                "Shadow's time over the answer's",
                "Median; below 1 it is faster.",
                "short",
                (Query(quantile(0.5, "model_server_shadow_latency_ratio", "le, target", SCOPE), "{{target}}"),),
            ),
            Panel(
                "Shadow calls",
                "Compared, or why not.",
                "reqps",
                (Query(rate("model_server_shadow_calls_total", "outcome", SCOPE), "{{outcome}}"),),
            ),
        ),
    ),
    Row(
        "TensorFlow Serving, as the gateways see it",
        (
            Panel(
                "Latency of a replica",
                "What its answers take of late; the worst gateway's view.",
                "s",
                (Query(f"max by (replica) (model_server_upstream_latency_seconds{{{SCOPE}}})", "{{replica}}"),),
            ),
            Panel(
                "Under way at a replica",
                "Of all gateways.",
                "short",
                (Query(f"sum by (replica) (model_server_upstream_outstanding{{{SCOPE}}})", "{{replica}}"),),
            ),
            Panel(
                "Replicas that are out",
                "1 where a gateway sends it nothing.",
                "short",
                (Query(f"max by (replica) (model_server_upstream_ejected{{{SCOPE}}})", "{{replica}}"),),
            ),
            Panel(
                "Attempts",
                "Requests to each replica, retries and hedges too.",
                "reqps",
                (Query(rate("model_server_upstream_attempts_total", "replica", SCOPE), "{{replica}}"),),
                stack=True,
            ),
            Panel(
                "Failures, retries, hedges",
                "Of all replicas.",
                "reqps",
                tuple(
                    Query(f"sum(rate(model_server_upstream_{what}_total{{{SCOPE}}}[$__rate_interval]))", what)
                    for what in ("failures", "retries", "hedges")
                ),
            ),
        ),
    ),
    Row(
        "Access and files",
        (
            Panel(
                "Predictions by key",
                "Admitted, or past the key's rate.",
                "reqps",
                (Query(rate("model_server_key_predictions_total", "key, outcome", SCOPE), "{{key}} {{outcome}}"),),
            ),
            Panel(
                "Turned away",
                "No valid key, by protocol; connections ended before they asked, by reason.",
                "reqps",
                (
                    Query(rate("model_server_unauthenticated_total", "protocol", SCOPE), "no key, {{protocol}}"),
                    Query(rate("model_server_connections_refused_total", "reason", SCOPE), "{{reason}}"),
                ),
            ),
            Panel(
                "Files refused",
                "1 while keys, certificates or routes on disk cannot be used.",
                "short",
                (
                    Query(f"max by (what) (model_server_files_refused{{{SCOPE}}})", "{{what}}"),
                    Query(f"1 - min(model_server_routes_valid{{{SCOPE}}})", "routes"),
                ),
            ),
            Panel(
                "Files reloaded",
                "Since the start.",
                "short",
                (
                    Query(f"sum by (what, outcome) (model_server_reloads_total{{{SCOPE}}})", "{{what}} {{outcome}}"),
                    Query(f"sum by (outcome) (model_server_routes_reloads_total{{{SCOPE}}})", "routes {{outcome}}"),
                ),
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "Processors",
                "In use, of all workers of a gateway.",
                "short",
                (
                    Query(
                        'sum by (instance) (rate(process_cpu_seconds_total{job="gateway", '
                        + SCOPE
                        + "}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
            ),
            Panel(
                "Memory",
                "In RAM, of all workers of a gateway.",
                "bytes",
                (Query(f'process_resident_memory_bytes{{job="gateway", {SCOPE}}}', "{{instance}}"),),
            ),
            Panel(
                "Open files and sockets",
                "Of what a process may have.",
                "percentunit",
                (Query(f'process_open_fds{{job="gateway", {SCOPE}}} / process_max_fds', "{{instance}}"),),
            ),
            Panel(
                "Age, and starts of workers",
                "Seconds since the start; a worker that dies is started again.",
                "s",
                (
                    Query(f'time() - process_start_time_seconds{{job="gateway", {SCOPE}}}', "{{instance}}"),
                    Query(f"model_server_worker_starts_total{{{SCOPE}}}", "starts, {{instance}}"),
                ),
            ),
            Panel(
                "Versions of the gateway",
                "One, but for the time of a rollout.",
                "short",
                (Query(f"count by (version) (model_server_build_info{{{SCOPE}}})", "{{version}}"),),
            ),
        ),
    ),
)
