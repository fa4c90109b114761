"""Small folders of images and masks, and what `python -m ucc.data.inspect` says of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml
from numpy.typing import NDArray
from tiny import REPOSITORY

from ucc.data.images import write_png

PHOTO = np.zeros((8, 10, 3), np.uint8)
INDICES = np.zeros((8, 10), np.uint8)
INDICES[:, 2:4] = 1
INDICES[:, 4] = 2
COLORS = np.array([[0, 0, 0], [220, 20, 60], [30, 144, 255]], np.uint8)


def palette_mask(path: Path, colors: NDArray[np.uint8] = COLORS) -> None:
    """Write `INDICES` with a palette."""
    picture = PIL.Image.fromarray(INDICES)
    picture.putpalette(colors.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def folder(root: Path, mask: NDArray[np.uint8] | Callable[[Path], None], images: str, masks: str, ending: str) -> Path:
    """Six images, four of them with masks."""
    for index in range(6):
        write_png(root / images / f"x{index}.png", PHOTO + index)
        place = root / masks / f"x{index}{ending}.png"
        if index >= 4:
            continue
        if callable(mask):
            mask(place)
        else:
            write_png(place, mask)
    return root


def proposed(text: str) -> dict[str, Any]:
    """The section as YAML reads it."""
    section: dict[str, Any] = yaml.safe_load(text)["dataset"]
    return section


def run(*arguments: str, restricted: bool = False) -> subprocess.CompletedProcess[str]:
    """The command; `restricted` as somebody to whom permissions apply: root without two of its capabilities."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "ucc.data.inspect", *arguments]
    if restricted and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
