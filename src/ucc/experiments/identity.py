"""When two runs are the same run: a hash of the parameters that a figure depends on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

# Where things lie and what they run on: a run is the same run wherever it is made. Of a folder of one's own, and of a
# file of weights, the name counts all the same, since nothing else tells one from another.
PLACES = (
    "dataset.root",
    "partition.lists",
    *(f"train.{key}" for key in ("workers", "accelerator", "devices", "nodes", "launcher", "max_restarts")),
    *(f"train.{key}" for key in ("log_every", "checkpoint_every")),
)
# No figure of a run depends on what validation lets pass; a run ends with its evaluation.
# Figures of pseudo labels depend on how many images they are measured on, and are kept by that number instead.
NOT_MEASURED = ("validation.", "export.", "evaluate.panels", "evaluate.pseudo_label_images")
# Sections that only one choice reads. A key that is added there leaves the runs of the others what they were.
READ_BY = {
    "dataset.streets.": ("dataset.name", "streets"),
    "dataset.folder.": ("dataset.name", "folder"),
    "method.copy_paste.": ("method.name", "ucc"),
    "method.uncertainty.": ("method.name", "ucc"),
    "method.mean_teacher.": ("method.name", "mean_teacher"),
    "method.cct.": ("method.name", "cct"),
    "method.gct.": ("method.name", "gct"),
}
# Keys younger than the rows of results/, at the value by which these were made.
YOUNGER = (("evaluate.split", "val"), ("dataset.folder.image_suffix", ""))


def identity(params: Mapping[str, Any]) -> str:
    """Hash of nested parameters, 16 digits: equal for two runs that must give the same figures, wherever made."""
    flat = placeless(params)
    unread = tuple(section for section, (key, value) in READ_BY.items() if flat[key] != value)
    skipped = NOT_MEASURED + unread
    kept = {k: v for k, v in flat.items() if not k.startswith(skipped) and (k, v) not in YOUNGER}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def placeless(params: Mapping[str, Any]) -> dict[str, Any]:
    """`params`, flat, without `PLACES`; files of weights and folders of one's own, which may lie anywhere, by name."""
    whole = flatten(params)
    flat = {key: value for key, value in whole.items() if key not in PLACES}
    if flat["dataset.name"] == "folder":
        flat["dataset.root"] = f"folder {PurePath(whole['dataset.root'] or '').name}"
    if flat["model.weights"] not in ("imagenet", "none"):
        flat["model.weights"] = f"file {PurePath(flat['model.weights']).name}"
    return flat


def run_tag(name: str) -> str:
    """The digits of its `identity` that the name of a run ends with: alike for one run that stands in two tables."""
    return name.rpartition("-")[2]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` to `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
