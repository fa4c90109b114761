"""The files and packages of the image `serve` are what the service needs: started from these alone, it answers."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from brightest_model import write_model
from running import as_process, ask

from ucc.pictures import encode_png

ROOT = Path(__file__).parents[2]
STAGE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).split(" AS serve\n")[1]
# Python runs sitecustomize before anything else.
ONLY_LOCKED = """
import sys
class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and name not in {allowed!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} in the image", name=name)
sys.meta_path.insert(0, Refuse)
"""


def copied(source: Path) -> list[Path]:
    """Copy what the stage copies of the package to `source`; returns the files."""
    files = []
    for line in re.findall(r"^COPY (.*)$", STAGE, re.MULTILINE):
        *origins, destination = line.split()
        for origin in map(Path, origins):
            within = Path(destination).relative_to("/opt/ucc/src")
            if (ROOT / origin).is_dir():
                shutil.copytree(ROOT / origin, source / within, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                assert destination.endswith("/")
                (source / within).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / origin, source / within)
                files.append(within / origin.name)
    return files


def allowed_imports() -> set[str]:
    """Top-level modules of the standard library and of the packages in the image's lock."""
    lock = (ROOT / "requirements/serve.txt").read_text(encoding="utf-8")
    locked = {name.replace("_", "-").lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    packages = {
        module
        for module, owners in packages_distributions().items()
        if locked & {owner.replace("_", "-").lower() for owner in owners}
    }
    built = sysconfig._get_sysconfigdata_name()  # of the standard library, but named after the machine
    return {*sys.stdlib_module_names, *packages, built, "ucc", "__main__"}


def instruction(name: str) -> list[str]:
    found = re.search(rf"^{name} (\[.*\])$", STAGE, re.MULTILINE)
    assert found
    words: list[str] = json.loads(found.group(1))
    return words


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The image's source folder, where nothing can be imported that the image has not."""
    folder = tmp_path / "src"
    copied(folder)
    (folder / "sitecustomize.py").write_text(ONLY_LOCKED.format(allowed=allowed_imports()), encoding="utf-8")
    return folder


def test_the_service_runs_from_the_files_and_packages_of_its_image(source: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "segmenter.onnx")
    assert instruction("CMD") == ["/models/segmenter.onnx"]
    python, *words = instruction("ENTRYPOINT")
    assert python == "python"
    assert words[words.index("--host") + 1] == "0.0.0.0"
    words[words.index("--port") + 1] = "0"
    image = encode_png(np.full((8, 8, 3), (0, 0, 9), np.uint8))
    with as_process([sys.executable, *words, model], source) as (process, port):
        assert ask(port, "GET", "/v2/health/ready").json() == {"ready": True}
        for accept in ("*/*", "image/png;output=overlay", "image/png;output=uncertainty", "application/json"):
            assert ask(port, "POST", "/segment", image, {"Accept": accept}).status == 200
        for page in ("/model", "/metrics", "/openapi.json"):
            assert ask(port, "GET", page).status == 200
        assert process.poll() is None


def test_torch_cannot_be_imported_there(source: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'torch' in the image" in done.stderr


def test_the_image_has_no_file_of_the_package_that_serving_does_not_import(tmp_path: Path) -> None:
    files = copied(tmp_path)
    script = "import sys, ucc.cli, ucc.commands.serve, ucc.serve.app; print(*(n for n in sys.modules if 'ucc' in n))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    modules = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert modules - {"ucc.__main__"} <= loaded
