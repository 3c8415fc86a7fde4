"""The shape of the custom resources that we write: fields that are not named here are taken for typing errors.

After the resources' own definitions: KEDA 2, the Prometheus operator (monitoring.coreos.com/v1), KServe 0.15 and later.
"""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d|w|y))+$"}
_LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_ANY: Schema = {"type": "object"}


def _fields(required: tuple[str, ...] = (), /, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def _resource(spec: Schema) -> Schema:
    metadata = _fields(("name",), name=_TEXT, namespace=_TEXT, labels=_LABELS, annotations=_LABELS)
    return _fields(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion=_TEXT, kind=_TEXT, metadata=metadata, spec=spec
    )


_POLICIES = _list(
    _fields(("type", "value", "periodSeconds"), type={"enum": ["Pods", "Percent"]}, value=_COUNT, periodSeconds=_COUNT)
)
_SCALING = _fields(
    ("policies",),
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=_POLICIES,
)
_SCALED_OBJECT = _fields(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=_fields(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    pollingInterval=_COUNT,
    cooldownPeriod=_COUNT,
    fallback=_fields(
        ("failureThreshold", "replicas"),
        failureThreshold=_COUNT,
        replicas=_COUNT,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
    ),
    advanced=_fields(
        horizontalPodAutoscalerConfig=_fields(behavior=_fields(scaleUp=_SCALING, scaleDown=_SCALING), name=_TEXT)
    ),
    triggers=_list(
        _fields(
            ("type", "metadata"),
            type={"const": "prometheus"},
            name={"type": "string", "pattern": "^[a-zA-Z0-9-]+$"},
            metricType={"enum": ["AverageValue", "Value"]},
            # All of a trigger's metadata are strings, its numbers too.
            metadata=_fields(
                ("serverAddress", "query", "threshold"),
                serverAddress={"type": "string", "pattern": "^https?://"},
                query=_TEXT,
                threshold={"type": "string", "pattern": r"^[0-9.]+$"},
                activationThreshold={"type": "string", "pattern": r"^[0-9.]+$"},
            ),
        )
    ),
)
_SERVICE_MONITOR = _fields(
    ("selector", "endpoints"),
    selector=_fields(("matchLabels",), matchLabels=_LABELS),
    namespaceSelector=_fields(matchNames=_list(_TEXT)),
    jobLabel=_TEXT,
    endpoints=_list(
        _fields(
            ("port",),
            port=_TEXT,
            path=_TEXT,
            interval=_DURATION,
            scrapeTimeout=_DURATION,
            scheme={"enum": ["http", "https"]},
            metricRelabelings=_list(_ANY),
        )
    ),
)
_POD_MONITOR = _fields(
    ("selector", "podMetricsEndpoints"),
    selector=_SERVICE_MONITOR["properties"]["selector"],
    jobLabel=_TEXT,
    podMetricsEndpoints=_SERVICE_MONITOR["properties"]["endpoints"],
)
_RULES = _list(
    {
        "oneOf": [
            _fields(("record", "expr"), record=_TEXT, expr=_TEXT, labels=_LABELS),
            _fields(
                ("alert", "expr"),
                **{"for": _DURATION, "alert": _TEXT, "expr": _TEXT, "labels": _LABELS, "annotations": _LABELS},
            ),
        ]
    }
)
_PROMETHEUS_RULE = _fields(
    ("groups",), groups=_list(_fields(("name", "rules"), name=_TEXT, interval=_DURATION, rules=_RULES))
)
_SERVING_RUNTIME = _fields(
    ("supportedModelFormats", "containers"),
    supportedModelFormats=_list(
        _fields(
            ("name",),
            name=_TEXT,
            version=_TEXT,
            autoSelect={"type": "boolean"},
            priority={"type": "integer", "minimum": 1},
        )
    ),
    protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
    multiModel={"type": "boolean"},
    containers=_list(_ANY),  # containers as in pods, which the pods' rules look at
    volumes=_list(_ANY),
)
_INFERENCE_SERVICE = _fields(
    ("predictor",),
    predictor=_fields(
        ("model",),
        minReplicas=_COUNT,
        maxReplicas=_COUNT,
        scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
        scaleTarget=_COUNT,
        serviceAccountName=_TEXT,
        automountServiceAccountToken={"type": "boolean"},
        terminationGracePeriodSeconds=_COUNT,
        model=_fields(
            ("modelFormat",),
            runtime=_TEXT,
            modelFormat=_fields(("name",), name=_TEXT, version=_TEXT),
            protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
            storageUri={"type": "string", "pattern": "^(s3|gs|pvc|https)://"},
        ),
    ),
)

SCHEMAS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _resource(_SCALED_OBJECT),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _resource(_SERVICE_MONITOR),
    ("monitoring.coreos.com/v1", "PodMonitor"): _resource(_POD_MONITOR),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _resource(_PROMETHEUS_RULE),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _resource(_SERVING_RUNTIME),
    ("serving.kserve.io/v1beta1", "InferenceService"): _resource(_INFERENCE_SERVICE),
}
