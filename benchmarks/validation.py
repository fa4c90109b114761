"""How long validation takes, and how much memory: `python benchmarks/validation.py [--images 3000]`.

Writes JPEG pictures, 375x500 if not told otherwise, with masks into a temporary folder, validates them, and prints
seconds, images a second and the largest memory of the process. Fewer distinct pictures than images are linked to under
many names, which saves disk where a table of 50 000 rows is what is measured.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from ucc.config import ValidationParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import write_png
from ucc.data.manifest import Manifest, Sample

CLASSES = 21
PARAMS = ValidationParams(
    min_labeled_images=2,
    min_images_per_class=1,
    max_ignore_share=0.9,
    near_duplicate_bits=4,
    max_drift=0.5,
    severity={},
)


def main() -> None:
    """Write, validate, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument(
        "--distinct", type=int, default=3000, help="pictures on disk; the other images are links to them"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), help="height and width in pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_dataset(folder / "dataset", arguments.images, arguments.distinct, *arguments.size)
        written = memory_mb()
        start = time.perf_counter()
        # Imported here, since a stage pays for the import of Great Expectations too.
        from ucc.data.validation.page import write_page
        from ucc.data.validation.run import validate_dataset

        result = validate_dataset(folder / "dataset", manifest, PARAMS, folder / "data_docs")
        result.write(folder / "validation.json")
        write_page(result, folder / "dataset", manifest, folder / "validation.html")
        seconds = time.perf_counter() - start
        sizes = {file: (folder / file).stat().st_size / 1e6 for file in ("validation.json", "validation.html")}
    print(
        f"{arguments.images} images, {os.cpu_count()} cores: {seconds:.1f} s, {arguments.images / seconds:.0f} images/s"
    )
    print(f"memory {memory_mb():.0f} MB at most, {written:.0f} MB before validation")
    print(", ".join(f"{file} {size:.2f} MB" for file, size in sizes.items()))
    print(f"failed: {[check.name for check in result.failures]}, warnings: {[check.name for check in result.warnings]}")


def write_dataset(folder: Path, images: int, distinct: int, height: int, width: int) -> Manifest:
    """Pictures of smooth noise and masks of blocks; every eighth image is val, every eighth other one labelled."""
    rng = np.random.default_rng(0)
    hues = np.linspace(0, 179, CLASSES, dtype=np.uint8)
    colors = cv2.cvtColor(np.stack([hues, *[np.full_like(hues, 200)] * 2], axis=-1)[None], cv2.COLOR_HSV2RGB)[0]
    DatasetInfo("noise", tuple(f"class {i}" for i in range(CLASSES)), tuple(map(tuple, colors.tolist()))).write(folder)
    samples = []
    for index in range(images):
        subset = "val" if index % 8 == 7 else "labeled" if index % 8 == 0 else "unlabeled"
        split = "val" if subset == "val" else "train"
        stem = f"{split}/{index:06d}"
        mask = "" if subset == "unlabeled" else f"masks/{stem}.png"
        samples.append(Sample(stem, f"images/{stem}.jpg", mask, subset))
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        if index >= distinct:
            first = samples[index % distinct // 8 * 8 + index % 8]
            (folder / samples[-1].image).hardlink_to(folder / first.image)
            if mask:
                (folder / mask).hardlink_to(folder / first.mask)
            continue
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = (fine.astype(np.int16) + rng.integers(-12, 13, fine.shape, dtype=np.int16)).clip(0, 255)
        cv2.imwrite(str(folder / samples[-1].image), noisy.astype(np.uint8))
        if mask:
            blocks = rng.integers(0, CLASSES, (6, 8), dtype=np.uint8)
            enlarged = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
            write_png(folder / mask, enlarged.astype(np.uint8))
    return Manifest(samples)


def memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
