"""Full collections stop everybody: what stays for good is not looked through by any."""

import subprocess
import sys
from pathlib import Path

from tests.support import saved_model_zoo as zoo

_LOAD = """
import gc, sys
from pathlib import Path
from service.backends.embedded.saved_model import SavedModelRunner
first = SavedModelRunner(Path(sys.argv[1]))
frozen = gc.get_freeze_count()
second = SavedModelRunner(Path(sys.argv[1]))
print(frozen, gc.get_freeze_count(), len(gc.get_objects()))
"""


def test_tensorflow_is_out_of_the_collectors_way_and_models_are_not(tmp_path: Path) -> None:
    zoo.write(tmp_path)
    command = [sys.executable, "-c", _LOAD, str(tmp_path / zoo.NAME / str(zoo.VERSION))]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    after_first, after_second, looked_at = map(int, said.split())
    assert after_first > 200_000 > looked_at
    assert after_second <= after_first
