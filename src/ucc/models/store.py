"""A trained segmenter as one file: weights and everything needed to rebuild and to describe it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from ucc.config import ModelParams
from ucc.errors import UserError, require_file
from ucc.files import atomic_path
from ucc.models.segmenter import Segmenter, build_segmenter
from ucc.torch_files import write_torch

# The sections of params.yaml that the stage `train` depends on; the others may change without its running again.
TRAINED_WITH = ("model", "views", "method", "train")


@dataclass(frozen=True)
class SegmenterFacts:
    """What a trained segmenter is and how it came about; `params` holds the sections `TRAINED_WITH` of params.yaml."""

    dataset: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    model: ModelParams
    step: int
    fingerprint: str
    manifest: str
    params: dict[str, Any]


def save_segmenter(path: Path, segmenter: Segmenter, facts: SegmenterFacts) -> None:
    """Write weights and facts atomically."""
    structure = {"heads": len(segmenter.heads), "shared_encoder": len(segmenter.encoders) == 1}
    content = {"facts": asdict(facts), **structure, "state": segmenter.state_dict()}
    with atomic_path(path) as temporary:
        write_torch(temporary, content)


def load_segmenter(path: Path) -> tuple[Segmenter, SegmenterFacts]:
    """Rebuild what `save_segmenter` wrote, in evaluation mode on the CPU.

    Raises:
        UserError: if the file cannot be read, is damaged or was not written by `save_segmenter`.
    """
    require_file(path, "The stage `train` writes it.")
    try:
        # torch reads whatever lies there; the checksums of the archive are for its reader to look at.
        with ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise BadZipFile(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
        values = content["facts"]
        facts = SegmenterFacts(**{**values, "model": ModelParams(**values["model"])})
        segmenter = build_segmenter(
            facts.model,
            len(facts.classes),
            content["heads"],
            seed=0,
            shared_encoder=content["shared_encoder"],
            pretrained=False,
        )
        segmenter.load_state_dict(content["state"])
    except Exception as error:
        # A damaged or foreign file shows in any of many exception types; for the user they are one case. What torch
        # says of it takes several lines and advises to run whatever code is in the file.
        raise UserError(
            f"{path}: not a trained segmenter of this version: damaged, or not written by the stage `train` "
            f"({type(error).__name__}). Run that stage."
        ) from error
    return segmenter.eval(), facts


def is_segmenter(path: Path) -> bool:
    """Whether `load_segmenter` can rebuild what lies there."""
    try:
        load_segmenter(path)
    except UserError:
        return False
    return True
