"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

from typing import Any

from service.api.grpc.request import UnaryCall, check_count
from service.api.tfserving import examples
from service.api.tfserving.model_info import SIGNATURE_DEF, build_metadata, build_status
from service.errors import InvalidInput, Unsupported, listed
from service.predictor import Predictor
from service.protobuf import signatures
from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from service.repository.manifest import Manifest
from service.types import DEFAULT_SIGNATURE, ModelRef, PredictRequest, PredictResult


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # generated
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def Predict(self, request: Any, call: UnaryCall) -> Any:
        async with call.admit(self._predictor, _read_ref(request)) as admitted:
            result = await admitted.predict(_parse_request(request, admitted.manifest))
        call.set_served_by(result)
        reply = predict_pb2.PredictResponse(model_spec=_build_spec(request.model_spec, result))
        for alias, array in result.outputs.items():
            reply.outputs[alias].CopyFrom(codec.to_proto(array))
        return reply

    async def GetModelMetadata(self, request: Any, call: UnaryCall) -> Any:
        ref = _read_ref(request)
        check_count("metadata fields", request.metadata_field)
        asked = list(request.metadata_field)
        if not asked or set(asked) != {SIGNATURE_DEF}:
            raise InvalidInput(f"metadata_field takes {SIGNATURE_DEF!r} and nothing else, got {asked}")
        return build_metadata(await self._predictor.describe(call.caller, ref))

    async def Classify(self, request: Any, call: UnaryCall) -> Any:
        answer = await self._infer(request, request.input, examples.CLASSIFY, call)
        return classification_pb2.ClassificationResponse(
            model_spec=answer.model_spec, result=answer.classification_result
        )

    async def Regress(self, request: Any, call: UnaryCall) -> Any:
        answer = await self._infer(request, request.input, examples.REGRESS, call)
        return regression_pb2.RegressionResponse(model_spec=answer.model_spec, result=answer.regression_result)

    async def MultiInference(self, request: Any, call: UnaryCall) -> Any:
        """One task after the other; each answer names its version."""
        answers: list[Any] = []
        for task in _read_tasks(request):
            if answers:
                call.begin_question()
            answers.append(await self._infer(task, request.input, task.method_name, call))
        return inference_pb2.MultiInferenceResponse(results=answers)

    async def _infer(self, task: Any, sent: Any, method: str, call: UnaryCall) -> Any:
        """An InferenceResult. Raises ServiceError."""
        async with call.admit(self._predictor, _read_ref(task)) as admitted:
            manifest, name = admitted.manifest, task.model_spec.signature_name
            examples.find_outputs(manifest, name, method)  # before any Example is looked at
            question = examples.build_request(manifest, name, method, examples.read_input(sent))
            result = await admitted.predict(question)
        call.set_served_by(result)
        answer = inference_pb2.InferenceResult(model_spec=_build_spec(task.model_spec, result))
        if method == examples.CLASSIFY:
            answer.classification_result.CopyFrom(examples.Classes.from_outputs(result.outputs).to_proto())
        else:
            answer.regression_result.CopyFrom(examples.build_regressions(examples.read_regressions(result.outputs)))
        return answer


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # generated
    """GetModelStatus. Models come from the repository, so HandleReloadConfigRequest answers UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def GetModelStatus(self, request: Any, call: UnaryCall) -> Any:
        ref = _read_ref(request)  # its label, if any, is not looked at
        return build_status(await self._predictor.list_statuses(call.caller, ref.name, ref.version))

    async def HandleReloadConfigRequest(self, request: Any, call: UnaryCall) -> Any:
        raise Unsupported("models come from the folder of --repository: add or remove versions there")


def _parse_request(request: Any, manifest: Manifest) -> PredictRequest:
    check_count("inputs", request.inputs)
    check_count("outputs", request.output_filter)
    name = request.model_spec.signature_name
    _check_names(request, manifest, name)  # before anything of it is unpacked
    inputs = {alias: codec.to_array(alias, tensor) for alias, tensor in request.inputs.items()}
    if len(inputs) < len(manifest.signature(name).inputs):
        inputs = signatures.defaults(manifest, name) | inputs
    return PredictRequest(inputs, name, tuple(request.output_filter))


def _check_names(request: Any, manifest: Manifest, name: str) -> None:
    """Raises InvalidInput where inputs are unknown, or missing and without a default."""
    sent, known = set(request.inputs), set(manifest.signature(name).inputs)
    if sent == known:
        return
    extra = sorted(sent - known)
    missing = sorted(known - sent - set(signatures.defaults(manifest, name)))
    if len(sent) != len(known) and (extra or missing):
        raise InvalidInput(
            f"{len(sent)} inputs were sent, {listed(sent)}, and the signature takes {len(known)}, {sorted(known)}; "
            f"extra: {listed(extra)}, missing: {missing}"
        )
    if extra or missing:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r:.70} too much"
        raise InvalidInput(f"the request {what}: {listed(sent)} were sent, the signature takes {sorted(known)}")


def _read_ref(request: Any) -> ModelRef:
    if not request.HasField("model_spec"):
        raise InvalidInput("the request has no model_spec; name a model in it")
    spec = request.model_spec
    if not spec.name:
        raise InvalidInput("model_spec needs a name")
    if spec.HasField("version_label"):
        return ModelRef(spec.name, label=spec.version_label)
    return ModelRef(spec.name, spec.version.value if spec.HasField("version") else None)


def _build_spec(asked: Any, result: PredictResult) -> Any:
    """The ModelSpec of a reply: the name asked for, the version that answered, the signature an empty name meant."""
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=result.signature)
    spec.version.value = result.ref.version
    return spec


def _read_tasks(request: Any) -> list[Any]:
    """Those of a MultiInference. Raises InvalidInput, or Unsupported for a method that takes no Examples."""
    check_count("tasks", request.tasks)
    tasks = list(request.tasks)
    if not tasks:
        raise InvalidInput("the request has no tasks; send at least one")
    if len({task.model_spec.name for task in tasks}) > 1:
        raise InvalidInput("all tasks of one request ask the same model")
    names = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in tasks]
    if len(set(names)) < len(names):
        raise InvalidInput(f"each task asks another signature, got {listed(names)}")
    for task in tasks:
        if task.method_name not in (examples.CLASSIFY, examples.REGRESS):
            known = f"{examples.CLASSIFY!r} and {examples.REGRESS!r}"
            raise Unsupported(f"method {task.method_name!r} is none that takes Examples; {known} are")
    return tasks
