"""UCC: semantic segmentation from few masks and many images, by uncertainty guided cross-head co-training."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ucc.images import read_image
    from ucc.segmenter import Segmenter

__all__ = ["Segmenter", "__version__", "read_image"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`ucc.Segmenter` and `ucc.read_image`, imported when they are asked for: `import ucc` loads nothing heavy."""
    if name == "Segmenter":
        from ucc.segmenter import Segmenter

        return Segmenter
    if name == "read_image":
        from ucc.images import read_image

        return read_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
