"""What an exported segmenter is computed with: named in full or in short, and never silently something else."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from brightest_model import write_model

from ucc.cli import main
from ucc.errors import UserError
from ucc.providers import CPU, find_providers, short_name
from ucc.segmenter import Segmenter

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime as its package for GPUs is."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cpu"], [CPU]),
        (["cpu", "cuda"], [CPU]),
        ([" cuda", "cpu "], [CUDA, CPU]),
        (["cuda"], [CUDA, CPU]),
        (["CUDA"], [CUDA, CPU]),
        ([CUDA], [CUDA, CPU]),
        ([CUDA, CPU], [CUDA, CPU]),
        (["cuda", "tensorrt", "cuda"], [CUDA, TENSORRT, CPU]),
        (["tensorrt", "cuda"], [TENSORRT, CUDA, CPU]),
    ],
)
def test_the_preferred_one_is_the_first_and_the_cpu_does_the_rest(names: list[str], expected: list[str]) -> None:
    assert find_providers(names) == expected


def test_one_that_is_not_installed_is_named_with_the_remedy(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    message = "provider 'cuda': the onnxruntime that is installed has azure, cpu. .*pip install onnxruntime-gpu"
    with pytest.raises(UserError, match=message):
        Segmenter(model, providers=["cuda"])
    assert main(["serve", str(model), "--provider", "cuda,cpu"]) == 1
    assert "provider 'cuda': the onnxruntime" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"provider 'cude': the onnxruntime that is installed has azure, cpu\.$"):
        Segmenter(model, providers=["cude"])


@pytest.mark.parametrize("wrong", ["cpu", [], None, 5, {"cpu": 1}, [1], [("CPUExecutionProvider", {})]])
def test_what_is_no_list_of_names_is_refused(model: Path, wrong: Any) -> None:
    with pytest.raises(UserError, match=r"^providers .*: must be a list of names\.$"):
        Segmenter(model, providers=wrong)


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider' is not in available")
def test_one_that_onnxruntime_goes_on_without_in_silence_is_an_error(model: Path) -> None:
    """As it does where a library of CUDA is missing; here all of them are."""
    with pytest.raises(UserError, match="provider cuda: onnxruntime could not start it"):
        Segmenter(model, providers=["cuda"])


@pytest.mark.usefixtures("with_gpu")
def test_images_of_many_sizes_do_not_each_cost_cuda_a_search(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def note(_: str, __: object, providers: list[Any], **options: Any) -> None:
        given.update(options, providers=providers)
        raise RuntimeError("no GPU here")

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    with pytest.raises(UserError, match="no GPU here"):
        Segmenter(model, providers=["cuda"])
    assert given["providers"] == [(CUDA, {"cudnn_conv_algo_search": "HEURISTIC"}), (CPU, {})]
    # onnxruntime would print, and go on with the CPU.
    assert given["enable_fallback"] == 0


@pytest.fixture
def other() -> str:
    """One that is installed here and not the CPU's: which it is differs from system to system."""
    found = [name for name in map(short_name, onnxruntime.get_available_providers()) if name != "cpu"]
    if not found:
        pytest.skip("this onnxruntime has the CPU's provider alone")
    return found[0]


def test_another_one_computes_the_same_and_is_handed_to_other_processes(model: Path, other: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    segmenter = Segmenter(model, providers=[other])
    assert segmenter.providers == (other, "cpu")
    assert pickle.loads(pickle.dumps(segmenter)).providers == (other, "cpu")
    for found, expected in zip(segmenter.segment(image), Segmenter(model).segment(image), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert Segmenter(model).providers == ("cpu",)


def test_commands_compute_with_the_one_that_they_are_told(
    model: Path, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used: list[tuple[str, ...]] = []
    monkeypatch.setattr("ucc.commands.segment.segment_all", lambda segmenter, *_: used.append(segmenter.providers) or 0)
    monkeypatch.setattr("ucc.serve.app.create_app", lambda segmenter, *_: used.append(segmenter.providers))
    monkeypatch.setattr("ucc.serve.server.serve", lambda *_: 0)
    (tmp_path / "in.png").write_bytes(b"")
    assert (
        main(["segment", str(tmp_path / "in.png"), str(tmp_path / "out"), f"--model={model}", f"--provider={other}"])
        == 0
    )
    assert main(["serve", str(model), "--port=0", f"--provider={other}"]) == 0
    assert used == [(other, "cpu")] * 2
    assert f"({other}, " in capsys.readouterr().out
    assert main(["serve", str(model), "--port=0"]) == 0
    assert used[-1] == ("cpu",)
