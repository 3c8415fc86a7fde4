"""The dashboard's upper half: is all well, what is asked, what waits. From these rows come Grafana's JSON, the check
against a live Prometheus, and the pictures in the docs.
"""

from tools.dashboards.panels import MODEL, SCOPE, Panel, Row, mean, quantile, rate, stat

_STAGE = "model_server_stage_seconds"
_TOTAL = f'{MODEL}, stage="total"'
_ANSWERED = f'{MODEL}, code="OK"'

_LATENCY = Panel("Latency", "s", "From a request's head to the answer ready to be written.")
for _share in (0.5, 0.95, 0.99):
    _LATENCY = _LATENCY.ask(quantile(_share, _STAGE, "le", _TOTAL), f"p{100 * _share:g}")

_NOW = (
    stat("Answers", "reqps", "Answered requests a second.").ask(
        f"sum(rate(model_server_requests_total{{{_ANSWERED}}}[$__rate_interval]))"
    ),
    stat(
        "Failing", "percentunit", "Of what may expect an answer, how much got none (5 minutes). Objective: 0.1 %."
    ).ask(f"max(model_server:errors:ratio_rate5m{{{SCOPE}}})"),
    stat("Slow", "percentunit", "Answers that took more than 256 ms (5 minutes). Objective: 1 %.").ask(
        f"max(model_server:slow:ratio_rate5m{{{SCOPE}}})"
    ),
    stat("Budget left", "percentunit", "Of the errors that three days may have, what is left.").ask(
        f"1 - max(model_server:errors:ratio_rate3d{{{SCOPE}}}) / 0.001"
    ),
    stat("Ready", "short", "Gateways (their workers) that take traffic.").ask(f"sum(model_server_ready{{{SCOPE}}})"),
    stat("Failed versions", "short", "Versions in the repository that cannot be loaded.").ask(
        f"sum(max by (model, version) (model_server_version_failed{{{SCOPE}}}))"
    ),
)
_TRAFFIC = (
    Panel("Requests by outcome", "reqps", "Every predict call, by its code; OK is an answer.", stack=True).ask(
        rate("model_server_requests_total", "code"), "{{code}}"
    ),
    Panel("Answers by version", "reqps", "What answered: a rollout and a canary are seen here.", stack=True).ask(
        rate("model_server_requests_total", "model, version", _ANSWERED), "{{model}}/{{version}}"
    ),
    Panel("Answers by protocol", "reqps", "http is /predict.").ask(
        rate("model_server_requests_total", "protocol", _ANSWERED), "{{protocol}}"
    ),
    _LATENCY,
    Panel("p99 by model", "s", "A flood on one model must not show in another's.").ask(
        quantile(0.99, _STAGE, "le, model", _TOTAL), "{{model}}"
    ),
    Panel("Where the time goes", "s", "Mean seconds of each stage of an answered request.", stack=True).ask(
        mean(_STAGE, "stage", f'{MODEL}, stage!="total"'), "{{stage}}"
    ),
)
_LOAD = (
    Panel("Wait for a slot", "s", "Mean, by pod: what autoscaling looks at.").ask(
        f"max by (namespace, pod) (model_server:queue_wait_seconds:mean1m{{{SCOPE}}})", "{{pod}}"
    ),
    Panel("Rows waiting", "short", "In the queues, at the moment of the scrape.").ask(
        f"sum by (model, version) (model_server_queue_rows{{{MODEL}}})", "{{model}}/{{version}}"
    ),
    Panel("Requests under way", "short", "By gateway.").ask(
        f"sum by (instance) (model_server_requests_in_flight{{{SCOPE}}})", "{{instance}}"
    ),
    Panel("Rows a batch", "short", "Mean. Batches form while slots are busy: larger ones mean more load.").ask(
        mean("model_server_batch_rows", "model, version"), "{{model}}/{{version}}"
    ),
    Panel(
        "Rows given up",
        "short",
        "They left the queue without being computed: past their deadline, or their client had gone; dead were "
        "computed for nobody.",
    )
    .ask(rate("model_server_dropped_rows_total", "reason"), "{{reason}}")
    .ask(f"sum(rate(model_server_dead_rows_total{{{MODEL}}}[$__rate_interval]))", "dead"),
    Panel("Shared computations", "reqps", "Requests answered by the run of an identical one (--coalesce).").ask(
        rate("model_server_coalesced_requests_total", "model"), "{{model}}"
    ),
    Panel("Bytes a request", "bytes", "Mean size of bodies, and of answers.")
    .ask(mean("model_server_request_bytes", "protocol"), "{{protocol}} in")
    .ask(mean("model_server_response_bytes", "protocol"), "{{protocol}} out"),
)
REQUESTS = Row("Now", _NOW), Row("Traffic", _TRAFFIC), Row("Load", _LOAD)
