"""The one function that reads params.yaml.

Every key of params.yaml is a field of the schema and every field must be in params.yaml: that file is the truth, no
value hides in code. A key that does not exist, a wrong type or an impossible value is a `UserError` naming
the key and what is allowed.
"""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_origin

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ucc.config import Params
from ucc.errors import UserError
from ucc.overrides import readable
from ucc.relations import check_relations

# A plain scalar such as 1:16, which YAML 1.1 reads as 76.
_SEXAGESIMAL = re.compile(r"^\s*\w+:\s+[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?(?=\s*(#|$))", re.MULTILINE)


def load_params(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Params:
    """Read and check params.yaml.

    `overrides` are Hydra's (`train.steps=10`). They are refused inside a DVC stage, where they would make the
    result differ from what dvc.lock records.

    Raises:
        UserError: naming the key and what is allowed.
    """
    if overrides and os.environ.get("DVC_STAGE"):
        raise UserError(
            f"{' '.join(overrides)}: overrides are refused inside a DVC stage, because dvc.lock would not "
            "record them. Edit params.yaml, or use `dvc exp run -S key=value`."
        )
    for override in overrides:
        if "${" in override:
            raise UserError(f"{override}: '${{...}}' is not allowed; write the value itself.")
    raw = _read(path, overrides)
    where = " ".join([str(path), *(["with"] if overrides else []), *overrides])
    schema = OmegaConf.structured(Params)
    _check_keys(raw, Params, "", where)
    try:
        params = cast(Params, OmegaConf.to_object(OmegaConf.merge(schema, raw)))
    except OmegaConfBaseException as error:
        key = str(error.full_key).partition("[")[0]
        raise UserError(f"{where}: {key} = {OmegaConf.select(raw, key)!r}: must be {_expected(key)}.") from error
    _check_values(params, "", where)
    check_relations(params, where)
    return params


def _read(path: Path, overrides: Sequence[str]) -> DictConfig:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run from the project's root, or copy one of presets/*.yaml to it.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it in that encoding.") from error
    if "${" in text:
        raise UserError(f"{path}: '${{...}}' is not allowed; write the value itself, so that DVC sees it.")
    if based := _SEXAGESIMAL.search(text):
        raise UserError(
            f"{path}: {based[0].strip()}: YAML takes this for one number, to the base of 60; write a share such as "
            "1/16, or put text in quotes."
        )
    # Hydra's own complaint about an unknown key does not say where it is; added by force, `_check_keys` does.
    try:
        read = map(readable, overrides)
        forced = [o if o.startswith(("+", "~")) else f"++{o}" for o in read]
        with initialize_config_dir(str(path.resolve().parent), version_base="1.3"):
            config = compose(config_name=path.stem, overrides=forced)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override.removeprefix('++')}: cannot be read; write overrides as key=value."
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        # A key that is no text, such as null, has OmegaConf say nothing.
        reason = next(iter(str(error).splitlines()), "holds a key that is no text")
        raise UserError(f"{path}: {reason}") from error
    except Exception as error:  # PyYAML raises a family of its own, of which Hydra wraps only part
        if type(error).__module__.startswith("yaml"):
            raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        raise
    _check_texts(yaml.load(text, yaml.BaseLoader), OmegaConf.create(text), Params, "", path)
    return config


def _check_texts(written: Any, read: Any, schema: type, prefix: str, path: Path) -> None:
    """Refuse text that YAML takes for something which does not read as it was written: a folder 0123, or called on."""
    if not isinstance(written, dict) or not isinstance(read, DictConfig):
        return
    for spec in dataclasses.fields(schema):
        text, value = written.get(spec.name), read.get(spec.name)
        if dataclasses.is_dataclass(spec.type):
            _check_texts(text, value, cast(type, spec.type), f"{prefix}{spec.name}.", path)
        elif spec.type in (str, str | None) and isinstance(value, int | float) and text != str(value):
            raise UserError(
                f'{path}: {prefix}{spec.name}: YAML takes {text} for {str(value).lower()}; put it in quotes: "{text}".'
            )


def _check_keys(config: Any, schema: type, prefix: str, where: str) -> None:
    known = {f.name: f for f in dataclasses.fields(schema)}
    if not isinstance(config, DictConfig):
        raise UserError(f"{where}: {prefix.rstrip('.')} must be a section with the keys {', '.join(known)}.")
    for key in map(str, config):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys here: {', '.join(known)}."
            raise UserError(f"{where}: unknown key {prefix}{key}; {hint}")
    for name, spec in known.items():
        if name not in config:
            raise UserError(
                f"{where}: missing key {prefix}{name}. Add it; presets/*.yaml show every key and its meaning."
            )
        if dataclasses.is_dataclass(spec.type):
            _check_keys(config[name], cast(type, spec.type), f"{prefix}{name}.", where)
        elif get_origin(spec.type) in (list, dict):
            _check_container(config[name], get_origin(spec.type), f"{prefix}{name}", where)


def _check_container(config: Any, kind: Any, key: str, where: str) -> None:
    """Lists and mappings where they are meant, whose mixture OmegaConf does not tell well."""
    if kind is list:
        fits = isinstance(config, ListConfig)
    else:
        fits = isinstance(config, DictConfig) and all(isinstance(text, str) for item in config.items() for text in item)
    if not fits:
        value = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
        raise UserError(f"{where}: {key} = {value!r}: must be {_expected(key)}.")


def _expected(key: str) -> str:
    """What the schema allows at `key`, in words."""
    kind: Any = Params
    for part in key.split("."):
        kind = {f.name: f.type for f in dataclasses.fields(kind)}[part]
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        str | None: "text or null",
        int | None: "a whole number or null",
        float | None: "a number or null",
        list[int]: "a list of whole numbers",
        list[float]: "a list of numbers",
        list[str]: "a list of names",
        dict[str, str]: "a mapping of names to error or warning",
    }
    return words[kind]


def _check_values(section: Any, prefix: str, where: str) -> None:
    for spec in dataclasses.fields(section):
        value, key = getattr(section, spec.name), f"{prefix}{spec.name}"
        if dataclasses.is_dataclass(value):
            _check_values(value, f"{key}.", where)
            continue
        if value is None:
            continue  # the type has let it pass
        for item in value if isinstance(value, list) else [value]:
            problem = _problem(item, spec.metadata)
            if problem:
                raise UserError(f"{where}: {key} = {value!r}: {problem}.")


def _problem(value: Any, allowed: Any) -> str | None:
    if "allowed" in allowed:
        options = allowed["allowed"]
        return None if value in options else f"must be one of {', '.join(map(str, options))}"
    if "low" not in allowed:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "must be a finite number"
    if allowed["low"] is not None and value < allowed["low"]:
        return f"must be at least {allowed['low']}"
    if allowed["high"] is not None and value > allowed["high"]:
        return f"must be at most {allowed['high']}"
    if allowed["above"] is not None and value <= allowed["above"]:
        return f"must be above {allowed['above']}"
    if allowed["multiple"] is not None and value % allowed["multiple"]:
        return f"must be a multiple of {allowed['multiple']}"
    return None
