"""docs/migrating.md: what it copies out of Triton's layout is served."""

import shutil
import subprocess
from pathlib import Path

import httpx

from tests.support.documents import DOCS, read_blocks
from tests.support.service_process import running


def test_a_version_in_tritons_layout_is_served_once_it_is_copied(lenet5_repository: Path, tmp_path: Path) -> None:
    deeper = tmp_path / "triton" / "lenet5" / "1" / "model.savedmodel"
    shutil.copytree(lenet5_repository / "lenet5" / "1", deeper)
    (tmp_path / "triton" / "lenet5" / "config.pbtxt").write_text('backend: "tensorflow"\n')
    (block,) = (each for each in read_blocks(DOCS / "migrating.md") if each.run)
    subprocess.run(["bash", "-euc", block.code], cwd=tmp_path, check=True, timeout=60)
    with running("--repository", tmp_path / "models") as service:
        service.wait_ready()
        image = next((tmp_path / "models" / "lenet5" / "1" / "assets.extra" / "samples").glob("7-*.png")).read_bytes()
        answer = httpx.post(f"{service.url}/predict/lenet5", content=image, timeout=30).json()
    assert answer["predictions"][0]["label"] == "7"
