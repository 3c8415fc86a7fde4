"""What a loaded version must pass before its first client: warm-up requests, then a check of its answers."""

from service.backends import golden as golden_answers
from service.backends.base import Golden, Loaded
from service.errors import ServiceError
from service.repository.manifest import MANIFEST, Manifest


class Behind(ValueError):
    """A version lacks something that the version in service has."""


def check_succession(new: Manifest, old: Manifest) -> None:
    """Raises Behind where `new` lacks what clients of `old` may use; it then waits until `old` is removed. Such a
    version may be an incomplete copy, which loads as a foreign model.
    """
    signatures = sorted(set(old.signatures) - set(new.signatures))
    if old.checked and not new.checked:
        lacks = str(MANIFEST)
    elif signatures:
        lacks = f"signature{'s' * (len(signatures) > 1)} {', '.join(signatures)}"
    else:
        return
    if new.version == old.version:
        raise Behind(
            f"it has no {lacks}, which the loaded copy has: restore it, or publish the change as a new version"
        )
    raise Behind(
        f"it has no {lacks}, which version {old.version} in service has: its copy may not be whole; copy the rest, "
        f"publish a version that has it, or remove version {old.version} to serve this one as it is"
    )


async def warm(loaded: Loaded) -> None:
    """Replays the warm-up requests, then asks the golden questions.

    Raises ValueError, saying what is wrong, where a request fails or an answer is not what it was at export.
    """
    for signature, inputs in loaded.warmup:
        if loaded.manifest.decodes(signature):  # the preprocessor decodes its images
            continue
        loaded.manifest.signature(signature)
        try:
            await loaded.runner.run(signature, inputs, (), None)
        except ServiceError as error:
            raise ValueError(f"a warm-up request failed in signature {signature!r}: {error.message}") from error
    if loaded.golden is not None:
        await _check(loaded, loaded.golden)


async def _check(loaded: Loaded, golden: Golden) -> None:
    answers = await loaded.runner.run(golden.signature, golden.inputs, (), None)
    if wrong := golden_answers.find_mismatch(golden, answers, loaded.manifest, loaded.precision):
        raise ValueError(
            f"its answers are not those at export: {wrong}; the files are damaged, or this machine computes differently"
        )
