"""What the published model costs on the exporter's machine, measured by the service that will run it."""

import json
import subprocess
import sys
from pathlib import Path

from export.errors import ExportError
from service.repository.manifest import Profile


def measure(tflite: Path) -> Profile:
    """In a process of its own, so that its memory is the model's alone. Raises ExportError where that fails."""
    command = [sys.executable, "-m", "service", "profile", str(tflite)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"refused to publish: the service cannot run model.tflite: {done.stderr.strip()[-500:]}")
    return Profile.parse(json.loads(done.stdout))
