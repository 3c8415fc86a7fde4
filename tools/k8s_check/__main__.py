"""`python -m tools.k8s_check`: renders every overlay and variant and checks it; a line each."""

import argparse
import sys
from functools import cache
from pathlib import Path

from tools.k8s_check.rendering import ROOT, Manifest, RenderError, folders, render


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.k8s_check", description=__doc__, allow_abbrev=False)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="kustomizations (all of k8s/)")
    chosen = parser.parse_args().folders or list(folders())
    from tools.k8s_check import schemas

    print(f"Kubernetes {', '.join(schemas.releases())}; custom resources by their shape\n")
    failed = sum(_check(folder) for folder in chosen)
    print(f"\n{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


def problems(manifests: list[Manifest]) -> list[str]:
    """Raises RenderError."""
    from tools.k8s_check import policy, programs, references, schemas

    return [
        *schemas.problems(manifests),
        *policy.problems(manifests),
        *programs.problems(manifests),
        *references.problems(manifests, _around()),
    ]


@cache
def _around() -> list[Manifest]:
    """What jobs and monitors find in the namespace. Raises RenderError."""
    return render(ROOT / "overlays" / "gpu")


def _check(folder: Path) -> bool:
    name = str(folder.resolve().relative_to(ROOT) if folder.resolve().is_relative_to(ROOT) else folder)
    try:
        manifests = render(folder)
    except RenderError as error:
        print(f"{name:<32} cannot be rendered\n  {error}")
        return True
    found = problems(manifests)
    print(f"{name:<32} {len(manifests):>2} objects  {'ok' if not found else f'{len(found)} problems'}", flush=True)
    for problem in found:
        print(f"  {problem}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
