from dataclasses import replace
from pathlib import Path

import pytest

from ucc.data.manifest import Manifest, Sample
from ucc.errors import UserError

SAMPLES = (
    Sample("train/b", "images/train/b.jpg", "masks/train/b.png", "labeled"),
    Sample("train/a", "images/train/a.jpg", "", "unlabeled"),
    Sample("val/c, with a comma", "images/val/c.jpg", "masks/val/c.png", "val"),
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    Manifest(SAMPLES).write(tmp_path / "manifest.csv")
    again = Manifest.read(tmp_path / "manifest.csv")
    assert again.samples == Manifest(SAMPLES).samples
    assert again.hash == Manifest(SAMPLES).hash


def test_samples_are_sorted_by_id_whatever_their_order() -> None:
    assert [sample.id for sample in Manifest(SAMPLES).samples] == ["train/a", "train/b", "val/c, with a comma"]
    assert Manifest(reversed(SAMPLES)).hash == Manifest(SAMPLES).hash


@pytest.mark.parametrize("field", ["id", "image", "mask", "subset"])
def test_the_hash_changes_with_every_field(field: str) -> None:
    changed = replace(SAMPLES[0], **{field: "test"})
    assert Manifest([changed, *SAMPLES[1:]]).hash != Manifest(SAMPLES).hash


def test_the_hash_tells_fields_and_rows_apart() -> None:
    assert Manifest([Sample("a", "bc", "", "val")]).hash != Manifest([Sample("ab", "c", "", "val")]).hash
    assert Manifest(SAMPLES[:1]).hash != Manifest(SAMPLES[:2]).hash


def test_subsets_hold_their_own_samples_and_an_unknown_one_is_an_error() -> None:
    assert Manifest(SAMPLES).subset("unlabeled") == (SAMPLES[1],)
    assert Manifest(SAMPLES).subset("test") == ()
    with pytest.raises(ValueError, match="labeled, unlabeled, val, test"):
        Manifest(SAMPLES).subset("train")


def test_a_missing_file_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot be read .* `partition` writes it"):
        Manifest.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header must be id,image,mask,subset"),
        ("id,image,subset\na,b,val\n", "header must be id,image,mask,subset"),
        ("id,image,mask,subset\na,b,c,training\n", "a: subset 'training' is none of labeled"),
        ("id,image,mask,subset\na,b\n", "line 2"),
        ("id,image,mask,subset\na,b,c,val,more\n", "line 2"),
        pytest.param(
            'id,image,mask,subset\n"a,b,c,val\n' + 10000 * "a,images/a.png,,val\n",
            "not a valid CSV table .*`partition`",
            id="a quote that nothing closes",
        ),
    ],
)
def test_a_broken_table_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Manifest.read(tmp_path / "manifest.csv")
    assert str(tmp_path / "manifest.csv") in str(caught.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_than_utf_8_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    """As spreadsheets save it."""
    (tmp_path / "manifest.csv").write_text("id,image,mask,subset\nval/ä,b.png,c.png,val\n", encoding=encoding)
    with pytest.raises(UserError, match=r"manifest\.csv: not UTF-8 text .*; save it in that encoding"):
        Manifest.read(tmp_path / "manifest.csv")


def test_a_table_saved_with_a_byte_order_mark_is_the_same_table(tmp_path: Path) -> None:
    """As spreadsheets save UTF-8."""
    path = tmp_path / "manifest.csv"
    Manifest([Sample("val/ä", "images/val/ä.png", "", "val")]).write(path)
    named = Manifest.read(path).hash
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert Manifest.read(path).hash == named
