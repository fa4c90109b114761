"""What stands in an experiment file, checked: nothing in it may be misread, doubled or hidden in silence."""

import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ucc.errors import UserError

KEYS = ("title", "note", "params", "set", "arms", "columns", "seeds", "paper")

Setting = dict[str, Any]


@dataclass(frozen=True)
class Paper:
    """Figures of the paper, and the protocol (keys of params.yaml) under which they may stand beside ours."""

    protocol: Setting
    figures: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Content:
    """An experiment file: settings (keys of params.yaml to values) for all runs, by arm and by column, and seeds."""

    title: str
    note: str
    params: Path
    shared: Setting
    arms: dict[str, Setting]
    columns: dict[str, Setting]
    seeds: tuple[int, ...]
    paper: Paper | None


def read_content(path: Path) -> Content:
    """Read an experiment file.

    Raises:
        UserError: naming the file and the key that is missing, unknown, doubled or of the wrong kind.
    """
    content = _load(path)
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KEYS)}."
            raise UserError(f"{path}: unknown key {key}; {hint}")
    for key in ("title", "params", "arms", "seeds"):
        if not content.get(key):
            raise UserError(f"{path}: missing key {key}.")
    base = path.parent / _text(path, content, "params")
    if not base.is_file():
        raise UserError(f"{path}: params = {content['params']}: no such file; give a path relative to {path.parent}.")
    arms = _settings(path, "arms", content["arms"])
    columns = _settings(path, "columns", content.get("columns") or {"mIoU": {}})
    _refuse_hidden_keys(path, arms, columns)
    return Content(
        _text(path, content, "title"),
        _text(path, content, "note"),
        base,
        _setting(path, "set", content.get("set", {})),
        arms,
        columns,
        _seeds(path, content["seeds"]),
        _paper(path, content["paper"], arms, columns) if content.get("paper") is not None else None,
    )


def _load(path: Path) -> Mapping[Any, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Experiment files are experiments/*.yaml.")
    try:
        # Not yaml.safe_load, which takes the last of two equal keys and forgets the first.
        loaded = OmegaConf.load(io.StringIO(path.read_text(encoding="utf-8")))
        content = OmegaConf.to_container(loaded)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it in that encoding.") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping with the keys {', '.join(KEYS)}.")
    return content


def _text(path: Path, content: Mapping[Any, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{path}: {key} = {value!r}: must be text; put it in quotes.")
    return value


def _mapping(path: Path, where: str, value: Any, to: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: {where} must map {to}.")
    return value


def _named(path: Path, where: str, mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Keys as text: 1 and "1" would be one row of the table."""
    named = {str(key): value for key, value in mapping.items()}
    if len(named) < len(mapping):
        raise UserError(f"{path}: {where}: two names are the same when written: {', '.join(map(repr, mapping))}.")
    return named


def _setting(path: Path, where: str, value: Any) -> Setting:
    setting = _named(path, where, _mapping(path, where, value, "keys of params.yaml to values"))
    if "train.seed" in setting:
        raise UserError(f"{path}: {where} sets train.seed; list the seeds under seeds.")
    return setting


def _settings(path: Path, section: str, value: Any) -> dict[str, Setting]:
    names = _named(path, section, _mapping(path, section, value, "names to settings: {ucc: {method.name: ucc}}"))
    return {name: _setting(path, f"{section}.{name}", setting) for name, setting in names.items()}


def _refuse_hidden_keys(path: Path, arms: Mapping[str, Setting], columns: Mapping[str, Setting]) -> None:
    for arm, setting in arms.items():
        for column, other in columns.items():
            if both := sorted(setting.keys() & other.keys()):
                raise UserError(
                    f"{path}: {both[0]} is set by arms.{arm} and by columns.{column}, and one would hide the other."
                )


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    numbers = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if not numbers or len(set(value)) < len(value):
        raise UserError(f"{path}: seeds = {value}: must be a list of different whole numbers, none below 0.")
    return tuple(value)


def _paper(path: Path, given: Any, arms: Mapping[str, Setting], columns: Mapping[str, Setting]) -> Paper:
    """The section `paper`; a name in it that nothing else has would hide a figure in silence."""
    if not isinstance(given, dict) or set(given) != {"protocol", "figures"}:
        raise UserError(f"{path}: paper must be a mapping with the keys protocol and figures.")
    protocol = _setting(path, "paper.protocol", given["protocol"])
    figures: dict[str, dict[str, float]] = {}
    rows = _named(path, "paper.figures", _mapping(path, "paper.figures", given["figures"], "arms to figures"))
    for arm, row in rows.items():
        if arm not in arms:
            raise UserError(f"{path}: paper.figures.{arm}: no arm of that name; arms: {', '.join(arms)}.")
        where = f"paper.figures.{arm}"
        figures[arm] = _named(path, where, _mapping(path, where, row, "columns to figures"))
        for column, figure in figures[arm].items():
            if column not in columns or type(figure) not in (int, float):
                raise UserError(
                    f"{path}: {where}.{column} = {figure}: must be a number for one of the columns "
                    f"{', '.join(columns)}."
                )
    return Paper(protocol, figures)
