"""UCC: semantic segmentation from few masks and many images, by uncertainty guided cross-head co-training."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ucc.errors import UserError
    from ucc.images import read_image
    from ucc.segmenter import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter", "UserError", "__version__", "read_image"]
__version__ = "0.1.0"
_HOMES = {
    "Segmentation": "ucc.segmenter",
    "Segmenter": "ucc.segmenter",
    "UserError": "ucc.errors",
    "read_image": "ucc.images",
}


def __getattr__(name: str) -> Any:
    """`ucc.Segmenter` and its like, imported when they are asked for: `import ucc` loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
