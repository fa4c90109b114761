from pathlib import Path
from typing import Any

import pytest
import yaml

from ucc.data.dataset import DatasetInfo
from ucc.errors import UserError

GOOD: dict[str, Any] = {"name": "toy", "classes": ["road", "car"], "colors": [[0, 0, 0], [255, 0, 7]]}


def write(folder: Path, **changes: Any) -> None:
    (folder / "dataset.yaml").write_text(yaml.safe_dump(GOOD | changes))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    info = DatasetInfo("toy", ("road", "car"), ((0, 0, 0), (255, 0, 7)), {"source": "drawn", "seed": 3})
    info.write(tmp_path)
    assert DatasetInfo.read(tmp_path) == info
    assert info.num_classes == 2


def test_three_keys_are_enough(tmp_path: Path) -> None:
    write(tmp_path)
    info = DatasetInfo.read(tmp_path)
    assert info.classes == ("road", "car")
    assert info.colors == ((0, 0, 0), (255, 0, 7))
    assert info.ignore_index == 255


def test_a_missing_description_shows_how_one_looks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.yaml: cannot be read .*") as caught:
        DatasetInfo.read(tmp_path)
    example = str(caught.value).split("for example:\n")[1]
    (tmp_path / "dataset.yaml").write_text(example)
    assert DatasetInfo.read(tmp_path).num_classes == 2


@pytest.mark.parametrize("key", ["name", "classes", "colors"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({k: v for k, v in GOOD.items() if k != key}))
    with pytest.raises(UserError, match=rf"missing key\(s\) {key}"):
        DatasetInfo.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["road"]}, "classes must be a list of 2 to 255 names"),
        ({"classes": "road, car"}, "classes must be a list"),
        ({"classes": ["road", "road"]}, "holds a name twice"),
        ({"colors": [[0, 0, 0]]}, "list of 2 triples"),
        ({"colors": [[0, 0, 0], [0, 0, 256]]}, "0..255"),
        ({"colors": [[0, 0, 0], [0, 0]]}, "triples"),
        ({"colors": [[0, 0, 9], [0, 0, 9]]}, r"colors holds \[0, 0, 9\] twice"),
        ({"provenance": ["mine"]}, "provenance must be a mapping"),
        ({"classes": [False, True]}, r"classes\[0\] = False: name must be text; quote words that YAML takes"),
        ({"classes": ["road", None]}, r"classes\[1\] = None: name must be text"),
        ({"colours": []}, r"unknown key colours; did you mean colors\?"),
        ({"license": "mine"}, "unknown key license; known keys are name, classes, colors, provenance, ignore_index"),
        ({"ignore_index": 0}, "ignore_index must be 255"),
    ],
)
def test_an_impossible_value_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        DatasetInfo.read(tmp_path)
    assert "dataset.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_what_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(UserError, match=r"dataset\.yaml: (not valid YAML|must hold the keys)"):
        DatasetInfo.read(tmp_path)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_bytes("name: Häuser".encode("latin-1"))
    with pytest.raises(UserError, match=r"dataset\.yaml: not UTF-8 text .*save it in that encoding"):
        DatasetInfo.read(tmp_path)
