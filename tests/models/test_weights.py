"""Start weights: what loads, and what is refused under its name."""

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from ucc.errors import UserError
from ucc.models.encoder import classifier_network
from ucc.models.weights import load_weights, weights_identity

State = dict[str, Tensor]
KEY = "features.1.conv.0.0.weight"
REAL = Path(__file__).parents[3] / "shared" / "weights"


def state_of(backbone: str) -> State:
    torch.manual_seed(7)
    state = classifier_network(backbone).state_dict()
    return {name: torch.rand_like(value) if value.is_floating_point() else value + 5 for name, value in state.items()}


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def features(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(("fc.", "classifier."))}


def assert_loaded(network: nn.Module, expected: State) -> None:
    loaded = network.state_dict()
    for name, value in features(expected).items():
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), name
        assert loaded[name].dtype in (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("backbone", "with_classifier", "half"),
    [
        ("mobilenet_v2", True, False),
        ("mobilenet_v2", False, False),
        ("mobilenet_v2", False, True),
        ("mobilenet_v3_large", True, True),
        ("resnet18", True, True),
    ],
)
def test_a_file_with_the_names_of_torchvision_loads(
    tmp_path: Path, backbone: str, with_classifier: bool, half: bool
) -> None:
    state = state_of(backbone) if with_classifier else features(state_of(backbone))
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    network = classifier_network(backbone)
    load_weights(network, backbone, saved(state, tmp_path / "w.pth"))
    assert_loaded(network, state)


def test_a_classifier_of_another_number_of_classes_is_of_no_account(tmp_path: Path) -> None:
    state = state_of("mobilenet_v2") | {"classifier.1.weight": torch.rand(7, 1280), "classifier.1.bias": torch.rand(7)}
    network = classifier_network("mobilenet_v2")
    load_weights(network, "mobilenet_v2", saved(state, tmp_path / "w.pth"))
    assert_loaded(network, state)


def test_old_files_without_batch_counters_load(tmp_path: Path) -> None:
    state = {name: v for name, v in state_of("mobilenet_v2").items() if not name.endswith("num_batches_tracked")}
    network = classifier_network("mobilenet_v2")
    load_weights(network, "mobilenet_v2", saved(state, tmp_path / "w.pth"))
    assert_loaded(network, state)


def test_none_leaves_the_random_initialisation() -> None:
    network = classifier_network("mobilenet_v2")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_weights(network, "mobilenet_v2", "none")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def without_a_key(state: State) -> State:
    del state[KEY]
    return state


def with_a_foreign_key(state: State) -> State:
    return state | {"layer9.conv.weight": torch.rand(2)}


def with_a_shape_of_its_own(state: State) -> State:
    return state | {KEY: torch.rand(5, 5, 1, 1)}


def with_a_prefix(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without_a_key, KEY),
        (with_a_foreign_key, "layer9.conv.weight"),
        (with_a_shape_of_its_own, KEY),
        (with_a_prefix, "features.0.0.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_the_network_stays(
    tmp_path: Path, change: Callable[[State], State], named: str
) -> None:
    weights = saved(change(state_of("mobilenet_v2")), tmp_path / "misfit.pth")
    network = classifier_network("mobilenet_v2")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(network, "mobilenet_v2", weights)
    assert "misfit.pth" in str(caught.value)
    assert "model.backbone = mobilenet_v2" in str(caught.value)
    assert named in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    weights = saved(state_of("mobilenet_v3_large"), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not fit model\.backbone = mobilenet_v2"):
        load_weights(classifier_network("mobilenet_v2"), "mobilenet_v2", weights)


@pytest.mark.parametrize("weights", ["nowhere/w.pth", "imagnet", "."])
def test_a_file_that_is_not_there_is_named_with_what_is_allowed(weights: str) -> None:
    for use in (
        lambda: load_weights(classifier_network("mobilenet_v2"), "mobilenet_v2", weights),
        lambda: weights_identity(weights),
    ):
        with pytest.raises(UserError, match=r"no such file\. Give imagenet, none, or the path") as caught:
            use()
        assert f"model.weights = {weights}" in str(caught.value)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    saved(state_of("mobilenet_v2"), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for content in (b"", b"no weights at all", whole[: len(whole) // 2]):
        (tmp_path / "damaged.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"damaged\.pth: not a file of PyTorch weights"):
            load_weights(classifier_network("mobilenet_v2"), "mobilenet_v2", str(tmp_path / "damaged.pth"))


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}, "epoch": 3}, torch.rand(3)])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"w\.pth: must hold a state dict"):
        load_weights(classifier_network("mobilenet_v2"), "mobilenet_v2", saved(content, tmp_path / "w.pth"))


class Download:
    """Stands in for torchvision's entry of a network's weights."""

    url = "https://weights.example/mobilenet_v2.pth"

    def __init__(self, result: State | Exception) -> None:
        self.result = result

    def get_state_dict(self, progress: bool, check_hash: bool) -> State:
        assert progress
        assert check_hash
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def offer(monkeypatch: pytest.MonkeyPatch, result: State | Exception) -> None:
    monkeypatch.setattr("ucc.models.weights.get_model_weights", lambda _: {"IMAGENET1K_V1": Download(result)})


def test_imagenet_is_the_download_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    state, network = state_of("mobilenet_v2"), classifier_network("mobilenet_v2")
    offer(monkeypatch, state)
    load_weights(network, "mobilenet_v2", "imagenet")
    assert_loaded(network, state)


@pytest.mark.parametrize("error", [URLError("no route"), TimeoutError("too slow"), RuntimeError("invalid hash value")])
def test_a_download_that_fails_names_the_address_and_another_way(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    offer(monkeypatch, error)
    with pytest.raises(
        UserError, match=r"weights\.example/mobilenet_v2\.pth cannot be downloaded.*or set model\.weights"
    ):
        load_weights(classifier_network("mobilenet_v2"), "mobilenet_v2", "imagenet")


def test_weights_are_identified_by_content_not_by_place(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (weights_identity(str(tmp_path / name)) for name in "abc")
    assert a == b != c
    assert [weights_identity(name) for name in ("none", "imagenet")] == ["none", "imagenet"]


@pytest.mark.parametrize(
    ("backbone", "name"),
    [("mobilenet_v2", "mobilenet_v2-b0353104.pth"), ("resnet50", "resnet50_imagenet_fp16.pth")],
)
def test_published_files_load(backbone: str, name: str) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"needs {name}")
    network = classifier_network(backbone)
    load_weights(network, backbone, str(REAL / name))
    assert_loaded(network, torch.load(REAL / name, weights_only=True))
