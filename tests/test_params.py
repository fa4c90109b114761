"""The promises of `load_params`: params.yaml is the truth, and whatever is wrong with it names itself."""

from collections.abc import Callable
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ucc.config import ratio_or_count
from ucc.errors import UserError
from ucc.params import load_params

ROOT = Path(__file__).parents[1]
Write = Callable[..., Path]


@pytest.fixture
def params_with(tmp_path: Path) -> Write:
    """Write the project's params.yaml with some values replaced: `params_with({"train.lr": 1})`."""

    def write(changes: dict[str, Any]) -> Path:
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        for key, value in changes.items():
            *sections, name = key.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[name] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return path

    return write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_params(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_values_arrive_as_written_with_their_types(params_with: Write) -> None:
    params = load_params(params_with({"train.lr": 1.0e-3, "views.crop": [64, 96], "dataset.root": "photos"}))
    assert params.train.lr == 0.001
    assert params.views.crop == [64, 96]
    assert params.dataset.root == "photos"
    assert params.partition.labeled_ids is None


def test_an_exponent_without_point_is_a_number_all_the_same(params_with: Write) -> None:
    path = params_with({"train.lr": "1e-3"})
    assert "lr: 1e-3" in path.read_text(encoding="utf-8")
    assert load_params(path).train.lr == 0.001


def test_a_whole_number_is_welcome_where_a_decimal_is_expected(params_with: Write) -> None:
    assert load_params(params_with({"method.unsup_weight": 2})).method.unsup_weight == 2.0


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train.step", "train.steps"),
        ("method.copy_paste.probabilty", "method.copy_paste.probability"),
        ("dataset.streets.heigth", "dataset.streets.height"),
        ("evalute", "evaluate"),
    ],
)
def test_a_misspelt_key_names_itself_and_its_neighbour(params_with: Write, wrong: str, right: str) -> None:
    message = refusal(params_with({wrong: 1}))
    assert f"unknown key {wrong}" in message
    assert f"did you mean {right}?" in message


def test_an_unknown_key_without_neighbour_lists_what_is_known(params_with: Write) -> None:
    message = refusal(params_with({"export.tensorrt": True}))
    assert "unknown key export.tensorrt" in message
    assert "opset, parity_images" in message


def test_a_missing_key_is_named_because_no_value_hides_in_code(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del values["method"]["ohem"]["threshold"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert "missing key method.ohem.threshold" in refusal(path)


def test_a_value_where_a_section_belongs_is_named(params_with: Write) -> None:
    assert "method.ohem must be a section with the keys enabled" in refusal(params_with({"method.ohem": True}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.steps", "many"),
        ("train.steps", 1.5),
        ("train.lr", None),
        ("views.crop", 128),
        ("views.crop", ["a", "b"]),
        ("views.crop", [[16], 16]),
        ("method.ohem.enabled", "perhaps"),
        ("dataset.streets.seed", [1]),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key_and_itself(params_with: Write, key: str, value: Any) -> None:
    message = refusal(params_with({key: value}))
    assert key in message
    assert "must be" in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("method.name", "uuc", "supervised, mean_teacher, cct, gct, cps, ucc"),
        ("model.output_stride", 12, "8, 16, 32"),
        ("model.head_width", 4, "at least 8"),
        ("train.lr", 0.0, "above 0"),
        ("train.lr", float("nan"), "finite"),
        ("train.lr", float("inf"), "finite"),
        ("train.lr", 1e300, "at most 1000"),
        ("train.head_lr_multiplier", 1e300, "at most 1000"),
        ("train.weight_decay", 1e300, "at most 1000"),
        ("method.copy_paste.ema_decay", 1.5, "at most 1"),
        ("views.flip_probability", -0.1, "at least 0"),
        ("views.crop", [100, 128], "multiple of 16"),
        ("views.crop", [128], "[height, width]"),
        ("views.scale_range", [2.0, 0.5], "[lowest, highest]"),
        ("views.scale_range", [50, 200], "at most 16"),
        ("method.unsup_weight", 1e39, "at most 1000000"),
        ("views.strong_operations", [1, 2, 3], "[lowest, highest]"),
        ("evaluate.stride", [256, 96], "evaluate.window"),
        ("partition.ratio", "1/0", "1/16"),
    ],
)
def test_an_impossible_value_says_what_is_allowed(params_with: Write, key: str, value: Any, allowed: str) -> None:
    message = refusal(params_with({key: value}))
    assert key in message
    assert allowed in message


def test_a_schedule_that_never_reaches_full_weight_is_refused(params_with: Write) -> None:
    message = refusal(params_with({"train.supervised_warmup": 80, "train.unsup_rampup": 40, "train.steps": 100}))
    assert "train.supervised_warmup + train.unsup_rampup = 120" in message
    assert "train.steps = 100" in message
    refusal(params_with({"train.supervised_warmup": 100, "train.unsup_rampup": 0, "train.steps": 100}))
    for without in ({"method.name": "supervised"}, {"method.unsup_weight": 0}):
        baseline = without | {"train.supervised_warmup": 200, "train.steps": 100}
        assert load_params(params_with(baseline)).train.steps == 100


def test_a_split_that_the_data_cannot_have_is_refused_before_anything_runs(params_with: Write) -> None:
    on_test = {"evaluate.split": "test", "dataset.name": "folder"}
    assert load_params(params_with(on_test)).evaluate.split == "test"
    assert "dataset.name = streets has no such split" in refusal(params_with({"evaluate.split": "test"}))
    assert "tuning_share" in refusal(params_with(on_test | {"partition.tuning_share": 0.2}))


def test_a_method_that_learns_from_unlabelled_images_is_refused_a_partition_without_any(params_with: Write) -> None:
    for ratio in (1.0, "1/1"):
        message = refusal(params_with({"partition.ratio": ratio}))
        assert f"partition.ratio = {ratio} leaves no unlabelled image" in message
    for without in ({"method.name": "supervised"}, {"method.unsup_weight": 0}):
        assert load_params(params_with(without | {"partition.ratio": 1.0})).partition.ratio == 1.0


@pytest.mark.parametrize(
    ("key", "written", "read"),
    [
        ("dataset.root", "0123", "83"),
        ("dataset.root", "1e3", "1000.0"),
        ("partition.labeled_ids", "1_000", "1000"),
        ("dataset.folder.images", "on", "true"),
        ("dataset.folder.mask_suffix", "no", "false"),
    ],
)
def test_text_that_yaml_would_change_must_be_quoted(params_with: Write, key: str, written: str, read: str) -> None:
    path = params_with({key: "WRITTEN"})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("WRITTEN", written), encoding="utf-8")
    assert refusal(path) == f'{path}: {key}: YAML takes {written} for {read}; put it in quotes: "{written}".'
    path.write_text(text.replace("WRITTEN", f"'{written}'"), encoding="utf-8")
    assert attrgetter(key)(load_params(path)) == written


def test_a_folder_may_be_called_by_a_year(params_with: Write) -> None:
    path = params_with({"dataset.root": "WRITTEN"})
    path.write_text(path.read_text(encoding="utf-8").replace("WRITTEN", "2021"), encoding="utf-8")
    assert load_params(path).dataset.root == "2021"


@pytest.mark.parametrize(("key", "written"), [("partition.ratio", "1:16"), ("dataset.root", "12:30:45")])
def test_a_number_to_the_base_of_60_is_what_nobody_meant(params_with: Write, key: str, written: str) -> None:
    path = params_with({key: "WRITTEN"})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("WRITTEN", f"{written}  # a comment"), encoding="utf-8")
    assert f"{key.partition('.')[2]}: {written}: YAML takes this for one number" in refusal(path)
    path.write_text(text.replace("WRITTEN", f"'{written}'"), encoding="utf-8")
    if key == "dataset.root":
        assert load_params(path).dataset.root == written
    else:
        assert f"partition.ratio = '{written}'" in refusal(path)


def test_one_labeled_image_is_no_share_of_all_images(params_with: Write) -> None:
    ratio = load_params(params_with({"partition.ratio": 1})).partition.ratio
    assert (ratio, type(ratio)) == (1, int)


def test_overrides_work_by_hand(params_with: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    params = load_params(params_with({}), ["train.steps=400", "partition.ratio=1/4", "model.head=dense"])
    assert (params.train.steps, params.partition.ratio, params.model.head) == (400, "1/4", "dense")


@pytest.mark.parametrize("path", ["~/photos", "/photos (1)/it's", "photos, old", "a=b", "[photos", "C:\\photos"])
def test_an_override_that_hydra_cannot_read_is_text(
    params_with: Write, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    params = load_params(params_with({}), [f"dataset.root={path}", f"model.weights={path}"])
    assert (params.dataset.root, params.model.weights) == (path, path)


def test_overrides_are_refused_inside_a_dvc_stage(params_with: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train")
    message = refusal(params_with({}), "train.steps=400")
    assert "train.steps=400" in message
    assert "dvc exp run -S" in message


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.lrr=1", "did you mean train.lr?"),
        ("trian.lr=1", "did you mean train?"),
        ("+train.lrr=1", "unknown key train.lrr"),
        ("train.steps=many", "train.steps"),
        ("train.steps", "train.steps"),
        ("method=supervised", "method"),
        ("train.lr=[", "train.lr=["),
        ("train.lr=${a}", "train.lr=${a}: '${...}' is not allowed"),
        ("dataset.root=${oc.env:HOME}", "'${...}' is not allowed"),
    ],
)
def test_a_wrong_override_names_its_key(
    params_with: Write, monkeypatch: pytest.MonkeyPatch, override: str, named: str
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert named in refusal(params_with({}), override)


def test_interpolation_is_refused_because_dvc_would_not_see_it(params_with: Write) -> None:
    assert "'${...}' is not allowed" in refusal(params_with({"train.seed": "${partition.seed}"}))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("dataset: [unclosed\n", encoding="utf-8")
    message = refusal(path)
    assert "params.yaml" in message
    assert "not valid YAML" in message


def test_an_empty_file_is_no_params(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("", encoding="utf-8")
    assert "missing key dataset" in refusal(path)


def test_a_missing_file_points_to_the_presets(tmp_path: Path) -> None:
    assert "presets/" in refusal(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (None, None),
        ("1/16", Fraction(1, 16)),
        ("1 / 8", Fraction(1, 8)),
        (0.25, Fraction(1, 4)),
        ("0.25", Fraction(1, 4)),
        ("1/1", Fraction(1)),
        (1, 1),
        (23, 23),
    ],
)
def test_ratio_takes_fractions_counts_and_null(value: Any, meaning: Fraction | int | None) -> None:
    result = ratio_or_count(value)
    assert result == meaning
    assert type(result) is type(meaning)


@pytest.mark.parametrize("value", [0, -3, "0", 1.5, "3/2", "1/0", "half", True, float("nan"), [1]])
def test_ratio_refuses_what_is_no_share(value: Any) -> None:
    with pytest.raises(ValueError, match="must be a fraction such as 1/16"):
        ratio_or_count(value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("validation.severity", [], "a mapping of names to error or warning"),
        ("validation.severity", ["drift"], "a mapping of names to error or warning"),
        ("validation.severity", {1: 2}, "a mapping of names to error or warning"),
        ("validation.severity", {"drift": None}, "a mapping of names to error or warning"),
        ("views.strong_operations", {"a": 1}, "a list of whole numbers"),
    ],
)
def test_a_list_for_a_mapping_or_the_reverse_is_refused(
    params_with: Write, key: str, value: object, expected: str
) -> None:
    assert f"{key} = {value!r}: must be {expected}" in refusal(params_with({key: value}))


def test_values_that_are_no_classes_cannot_be_let_pass(params_with: Write) -> None:
    message = refusal(params_with({"validation.severity": {"mask_values": "warning"}}))
    assert "validation.severity.mask_values = warning: nothing can be learnt" in message


def test_a_key_that_is_no_text_is_refused(params_with: Write) -> None:
    assert "holds a key that is no text" in refusal(params_with({"validation.severity": {None: "error"}}))


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_bytes(f"# für später\n{text}".encode("latin-1"))
    assert "params.yaml: not UTF-8 text" in refusal(tmp_path / "params.yaml")
