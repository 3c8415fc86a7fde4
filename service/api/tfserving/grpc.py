"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

from typing import Any

from service.api.grpc import errors
from service.api.grpc import request as calls
from service.api.grpc.interceptor import Context
from service.api.tfserving import examples, model_info
from service.errors import InvalidInput, ServiceError, Unsupported, listed
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

    async def Predict(self, request: Any, context: Context) -> Any:
        async def read(manifest: Manifest) -> PredictRequest:
            return _read(request, manifest)

        try:
            result = await calls.predict(self._predictor, _ref(request), context, read)
        except ServiceError as error:
            await errors.abort(context, error)
        reply = predict_pb2.PredictResponse(model_spec=_answered(request.model_spec, result))
        for alias, array in result.outputs.items():
            reply.outputs[alias].CopyFrom(codec.to_proto(array))
        return reply

    async def GetModelMetadata(self, request: Any, context: Context) -> Any:
        try:
            ref = _ref(request)
            calls.check_count("metadata fields", request.metadata_field)
            asked = list(request.metadata_field)
            if not asked or set(asked) != {model_info.SIGNATURE_DEF}:
                raise InvalidInput(f"metadata_field takes {model_info.SIGNATURE_DEF!r} and nothing else, got {asked}")
            return model_info.metadata(await self._predictor.describe(ref))
        except ServiceError as error:
            await errors.abort(context, error)

    async def Classify(self, request: Any, context: Context) -> Any:
        try:
            answer = await self._infer(request, request.input, examples.CLASSIFY, context)
        except ServiceError as error:
            await errors.abort(context, error)
        return classification_pb2.ClassificationResponse(
            model_spec=answer.model_spec, result=answer.classification_result
        )

    async def Regress(self, request: Any, context: Context) -> Any:
        try:
            answer = await self._infer(request, request.input, examples.REGRESS, context)
        except ServiceError as error:
            await errors.abort(context, error)
        return regression_pb2.RegressionResponse(model_spec=answer.model_spec, result=answer.regression_result)

    async def MultiInference(self, request: Any, context: Context) -> Any:
        """One task after the other; each answer names its version."""
        try:
            answers = [await self._infer(task, request.input, task.method_name, context) for task in _tasks(request)]
        except ServiceError as error:
            await errors.abort(context, error)
        return inference_pb2.MultiInferenceResponse(results=answers)

    async def _infer(self, task: Any, sent: Any, method: str, context: Context) -> Any:
        """An InferenceResult. Raises ServiceError."""

        async def read(manifest: Manifest) -> PredictRequest:
            name = task.model_spec.signature_name
            examples.outputs(manifest, name, method)  # before any Example is looked at
            return examples.question(manifest, name, method, examples.from_input(sent))

        result = await calls.predict(self._predictor, _ref(task), context, read)
        answer = inference_pb2.InferenceResult(model_spec=_answered(task.model_spec, result))
        if method == examples.CLASSIFY:
            answer.classification_result.CopyFrom(examples.Classes.of(result.outputs).to_proto())
        else:
            answer.regression_result.CopyFrom(examples.regressions_proto(examples.regressions(result.outputs)))
        return answer


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # generated
    """GetModelStatus. Models come from the repository, so HandleReloadConfigRequest answers UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def GetModelStatus(self, request: Any, context: Context) -> Any:
        try:
            ref = _ref(request)  # its label, if any, is not looked at
            return model_info.status(await self._predictor.statuses(ref.name, ref.version))
        except ServiceError as error:
            await errors.abort(context, error)

    async def HandleReloadConfigRequest(self, request: Any, context: Context) -> Any:
        await errors.abort(context, _NO_CONFIG)


_NO_CONFIG = Unsupported("models come from the folder of --repository: add or remove versions there")


def _read(request: Any, manifest: Manifest) -> PredictRequest:
    calls.check_count("inputs", request.inputs)
    calls.check_count("outputs", request.output_filter)
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


def _ref(request: Any) -> ModelRef:
    if not request.HasField("model_spec"):
        raise InvalidInput("the request has no model_spec; name a model in it")
    spec = request.model_spec
    if not spec.name:
        raise InvalidInput("model_spec needs a name")
    if spec.HasField("version_label"):
        return ModelRef(spec.name, label=spec.version_label)
    return ModelRef(spec.name, spec.version.value if spec.HasField("version") else None)


def _answered(asked: Any, result: PredictResult) -> Any:
    """The ModelSpec of a reply: the name asked for, the version that answered, the signature an empty name meant."""
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=result.signature)
    spec.version.value = result.ref.version
    return spec


def _tasks(request: Any) -> list[Any]:
    """Those of a MultiInference. Raises InvalidInput, or Unsupported for a method that takes no Examples."""
    calls.check_count("tasks", request.tasks)
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
