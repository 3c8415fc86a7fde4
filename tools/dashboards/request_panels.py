"""The dashboard's upper half: is all well, what is asked, what waits. From these rows come Grafana's JSON, the check
against a live Prometheus, and the pictures in the docs.
"""

from tools.dashboards.panels import MODEL, SCOPE, Panel, Query, Row, mean, quantile, rate

_STAGE = "model_server_stage_seconds"
_TOTAL = f'{MODEL}, stage="total"'

REQUESTS: tuple[Row, ...] = (
    Row(
        "Now",
        (
            Panel(
                "Answers",
                "Answered requests a second.",
                "reqps",
                (Query(f'sum(rate(model_server_requests_total{{{MODEL}, code="OK"}}[$__rate_interval]))'),),
                "stat",
            ),
            Panel(
                "Failing",
                "Of what may expect an answer, how much got none (5 minutes). Objective: 0.1 %.",
                "percentunit",
                (Query(f"max(model_server:errors:ratio_rate5m{{{SCOPE}}})"),),
                "stat",
            ),
            Panel(
                "Slow",
                "Answers that took more than 256 ms (5 minutes). Objective: 1 %.",
                "percentunit",
                (Query(f"max(model_server:slow:ratio_rate5m{{{SCOPE}}})"),),
                "stat",
            ),
            Panel(
                "Budget left",
                "Of the errors that three days may have, what is left.",
                "percentunit",
                (Query(f"1 - max(model_server:errors:ratio_rate3d{{{SCOPE}}}) / 0.001"),),
                "stat",
            ),
            Panel(
                "Ready",
                "Gateways (their workers) that take traffic.",
                "short",
                (Query(f"sum(model_server_ready{{{SCOPE}}})"),),
                "stat",
            ),
            Panel(
                "Failed versions",
                "Versions in the repository that cannot be loaded.",
                "short",
                (Query(f"sum(max by (model, version) (model_server_version_failed{{{SCOPE}}}))"),),
                "stat",
            ),
        ),
    ),
    Row(
        "Traffic",
        (
            Panel(
                "Requests by outcome",
                "Every predict call, by its code; OK is an answer.",
                "reqps",
                (Query(rate("model_server_requests_total", "code"), "{{code}}"),),
                stack=True,
            ),
            Panel(
                "Answers by version",
                "What answered: a rollout and a canary are seen here.",
                "reqps",
                (
                    Query(
                        rate("model_server_requests_total", "model, version", f'{MODEL}, code="OK"'),
                        "{{model}}/{{version}}",
                    ),
                ),
                stack=True,
            ),
            Panel(
                "Answers by protocol",
                "http is /predict.",
                "reqps",
                (Query(rate("model_server_requests_total", "protocol", f'{MODEL}, code="OK"'), "{{protocol}}"),),
            ),
            Panel(
                "Latency",
                "From a request's head to the answer ready to be written.",
                "s",
                tuple(Query(quantile(share, _STAGE, "le", _TOTAL), f"p{100 * share:g}") for share in (0.5, 0.95, 0.99)),
            ),
            Panel(
                "p99 by model",
                "A flood on one model must not show in another's.",
                "s",
                (Query(quantile(0.99, _STAGE, "le, model", _TOTAL), "{{model}}"),),
            ),
            Panel(
                "Where the time goes",
                "Mean seconds of each stage of an answered request.",
                "s",
                (Query(mean(_STAGE, "stage", f'{MODEL}, stage!="total"'), "{{stage}}"),),
                stack=True,
            ),
        ),
    ),
    Row(
        "Load",
        (
            Panel(
                "Wait for a slot",
                "Mean, by pod: what autoscaling looks at.",
                "s",
                (Query(f"max by (namespace, pod) (model_server:queue_wait_seconds:mean1m{{{SCOPE}}})", "{{pod}}"),),
            ),
            Panel(
                "Rows waiting",
                "In the queues, at the moment of the scrape.",
                "short",
                (Query(f"sum by (model, version) (model_server_queue_rows{{{MODEL}}})", "{{model}}/{{version}}"),),
            ),
            Panel(
                "Requests under way",
                "By gateway.",
                "short",
                (Query(f"sum by (instance) (model_server_requests_in_flight{{{SCOPE}}})", "{{instance}}"),),
            ),
            Panel(
                "Rows a batch",
                "Mean. Batches form while slots are busy: larger ones mean more load.",
                "short",
                (Query(mean("model_server_batch_rows", "model, version"), "{{model}}/{{version}}"),),
            ),
            Panel(
                "Rows given up",
                "They left the queue without being computed: past their deadline, or their client had gone; dead were "
                "computed for nobody.",
                "short",
                (
                    Query(rate("model_server_dropped_rows_total", "reason"), "{{reason}}"),
                    Query(f"sum(rate(model_server_dead_rows_total{{{MODEL}}}[$__rate_interval]))", "dead"),
                ),
            ),
            Panel(
                "Shared computations",
                "Requests answered by the run of an identical one (--coalesce).",
                "reqps",
                (Query(rate("model_server_coalesced_requests_total", "model"), "{{model}}"),),
            ),
            Panel(
                "Bytes a request",
                "Mean size of bodies, and of answers.",
                "bytes",
                (
                    Query(mean("model_server_request_bytes", "protocol"), "{{protocol}} in"),
                    Query(mean("model_server_response_bytes", "protocol"), "{{protocol}} out"),
                ),
            ),
        ),
    ),
)
