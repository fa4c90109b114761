"""How many pixels an image may have, and how OpenCV is told: it reads its own bound once, when it is loaded.

Imports nothing heavy, so that a command can call `limit_decoders` before anything imports OpenCV.
"""

import os

# A file of a few kilobytes can ask for any amount of memory; this many pixels are 534 MB of RGB. Pillow, which reads
# a user's own data set, stops just above.
MAX_PIXELS = 178_000_000


def limit_decoders(pixels: int = MAX_PIXELS) -> None:
    """Let OpenCV refuse to decode more than `pixels`, whatever `ucc.images` makes of a file's header.

    Without effect once OpenCV is loaded.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(pixels)
