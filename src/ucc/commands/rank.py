"""`ucc rank`: which of the unlabelled images to label next, by what a trained model says of them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ucc.commands.arguments import positive
from ucc.commands.contact_sheet import Entry, make_entry, write_sheet
from ucc.commands.inputs import find_inputs
from ucc.commands.ranking_files import IDS, SHEET, TABLE, Ranked, check_files, write_ids, write_table
from ucc.commands.shares import path_text
from ucc.data.manifest import Manifest
from ucc.data.text_list import VAL_IDS
from ucc.errors import UserError
from ucc.images import read_image
from ucc.paths import DATASET, MANIFEST
from ucc.progress import Progress
from ucc.ranking import Model, Opinion, Pixels, choose, describe, score
from ucc.segmenter import Segmenter

ON_SHEET = 60  # as many as a person looks through


class _Located(Protocol):
    @property
    def path(self) -> Path: ...


Image = TypeVar("Image", bound=_Located)
Result = TypeVar("Result")


class Candidate(NamedTuple):
    """An image, and what the results call it."""

    id: str
    path: Path


class _Measured(NamedTuple):
    """What is kept of an image: means over its pixels, and what it looks like, float32 (d,)."""

    image: Candidate
    uncertainty: float
    disagreement: float | None
    descriptor: NDArray[np.float32]


class Exported:
    """An exported segmenter as a `ucc.ranking.Model`: one head, hence no disagreement.

    Raises:
        UserError: if the file is missing or was not written by the stage `export`.
    """

    def __init__(self, path: Path) -> None:
        self._segmenter = Segmenter(path)
        self.colors = self._segmenter.colors
        self.manifest = self._segmenter.metadata.get("manifest")

    def opinion(self, image: Pixels) -> Opinion:
        """Raises `UserError` if onnxruntime fails on the image."""
        return Opinion(*self._segmenter.segment(image), disagreement=None)


def main(arguments: Sequence[str]) -> int:
    """Rank what the command line names; returns 0, or 1 if any image failed.

    Raises:
        UserError: if nothing can be begun: no image, no model, files in OUT that something else wrote.
        OSError: if a result cannot be written.
    """
    options = _parse(arguments)
    check_files(options.out)
    model = open_model(options.model)
    if options.folder is not None:
        inputs = find_inputs([options.folder], options.out)
        candidates = [Candidate(path_text(image.name), image.path) for image in inputs]
        return rank(model, candidates, None, (), options.count, not options.no_spread, options.out)
    manifest = Manifest.read(MANIFEST)
    if not manifest.subset("unlabeled"):
        raise UserError(f"{MANIFEST}: every training image is labelled; name a FOLDER of others.")
    if model.manifest != manifest.hash:
        print(f"note: {options.model} was trained on another partition than the present one, {manifest.hash}")
    unlabeled, labeled = (
        [Candidate(sample.id, DATASET / sample.image) for sample in manifest.subset(name)]
        for name in ("unlabeled", "labeled")
    )
    return rank(model, unlabeled, labeled, _measured_ids(), options.count, not options.no_spread, options.out)


def _measured_ids() -> list[str]:
    """The images to measure on, where they lie among those that are learnt from, so that a new mask may change them."""
    ids = DATASET / VAL_IDS
    return ids.read_text(encoding="utf-8").splitlines() if ids.is_file() else []


def open_model(path: Path) -> Model:
    """An exported `.onnx` file, or what the stage `train` wrote.

    Raises:
        UserError: if it cannot be used, or PyTorch is needed and not there.
    """
    if path.suffix.lower() == ".onnx":
        return Exported(path)
    try:
        from ucc.heads import Heads  # an exported file is ranked with without torch
    except ImportError as error:
        raise UserError(
            f"{path}: needs PyTorch, which is not installed (pip install '.[train]'); or give an exported .onnx file."
        ) from error
    return Heads(path)


def rank(
    model: Model,
    unlabeled: Sequence[Candidate],
    labeled: Sequence[Candidate] | None,
    measured: Sequence[str],
    count: int,
    spread: bool,
    out: Path,
) -> int:
    """Write into `out` which `count` of the `unlabeled` images to label next; returns the exit status.

    Args:
        labeled: what the chosen images are to differ from; None where nobody knows, and no list of ids is written.
        measured: ids of the images to measure on where a new mask may change which these are, else empty.

    Images that cannot be read or segmented do not stop the rest. They are listed at the end, and the status is 1.
    """
    labels = _each(labeled or (), lambda image: describe(read_image(image.path)), "read labelled")
    images = _each(sorted(unlabeled), lambda image: _measure(model, image), "measured")
    failures = [*labels.failures, *images.failures]
    if images.results:
        rows = _rank(images.results, labels.results, count, spread)
        chosen = [row for row in rows if row.rank is not None]
        sheet = _each(chosen[:ON_SHEET], lambda row: _entry(model, row), "drawn")
        failures += sheet.failures
        write_table(out, rows)
        write_sheet(out / SHEET, sheet.results)
        if labeled is not None:
            write_ids(out, [image.id for image in labeled], [row.id for row in chosen], measured)
        lists = [] if labeled is None else [IDS, VAL_IDS] if measured else [IDS]
        _report(out, rows, chosen, images.results[0].disagreement is not None, lists)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} images failed", file=sys.stderr)
    return int(bool(failures))


class _Done(NamedTuple, Generic[Result]):
    results: list[Result]
    failures: list[str]


def _each(images: Sequence[Image], work: Callable[[Image], Result], label: str) -> _Done[Result]:
    """The results of `work` on all images that it does not fail on, and what it said of the others."""
    results: list[Result] = []
    failures: list[str] = []
    progress = Progress(label, len(images))
    for image in images:
        try:
            results.append(work(image))
        except (UserError, MemoryError) as error:
            what = str(error) or "not enough memory."
            failures.append(what if str(image.path) in what else f"{image.path}: {what}")
        progress.advance()
    return _Done(results, failures)


def _measure(model: Model, image: Candidate) -> _Measured:
    pixels = read_image(image.path)
    opinion = model.opinion(pixels)
    mean = float(opinion.uncertainty.mean(dtype=np.float64))
    return _Measured(image, mean, opinion.disagreement, describe(pixels))


def _rank(
    images: Sequence[_Measured], labeled: Sequence[NDArray[np.float32]], count: int, spread: bool
) -> list[Ranked]:
    descriptors = np.stack([image.descriptor for image in images])
    disagreements = [image.disagreement for image in images if image.disagreement is not None]
    scores = score(
        np.array([image.uncertainty for image in images]), np.array(disagreements) if disagreements else None
    )
    known = np.stack(labeled) if labeled else descriptors[:0]
    order, distances = choose(scores, descriptors, known, count, spread)
    ranks = {index: number for number, index in enumerate(order, start=1)}
    rows = [
        Ranked(
            rank=ranks.get(index),
            id=image.image.id,
            path=image.image.path,
            score=float(scores[index]),
            uncertainty=image.uncertainty,
            disagreement=image.disagreement,
            distance=float(distances[index]),
        )
        for index, image in enumerate(images)
    ]
    return sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, -row.score, row.id))


def _entry(model: Model, row: Ranked) -> Entry:
    pixels = read_image(row.path)
    facts = f"score {row.score:.2f}, uncertainty {row.uncertainty:.3f}"
    if row.disagreement is not None:
        facts += f", disagreement {row.disagreement:.3f}"
    return make_entry(pixels, model.opinion(pixels), model.colors, f"{row.rank}  {row.id}", facts)


def _report(out: Path, rows: Sequence[Ranked], chosen: Sequence[Ranked], two_heads: bool, lists: Sequence[str]) -> None:
    if not two_heads:
        print("the model has one head: ranked by its uncertainty alone")
    shown = f"{SHEET} (the first {ON_SHEET})" if len(chosen) > ON_SHEET else SHEET
    print(f"{len(chosen)} of {len(rows)} images chosen: {out} ({', '.join([TABLE, shown, *lists])})")
    if lists:
        keep = (
            f", and dataset.folder.val: {out / VAL_IDS}, so that no new mask is measured on" if len(lists) > 1 else ""
        )
        print(
            f"next: draw their masks, set partition.labeled_ids: {out / IDS} in params.yaml (not where partition.ratio "
            f"is null, since every mask counts there){keep}; run `dvc repro -f partition`, then `dvc repro`"
        )


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="ucc rank",
        description="Say which unlabelled images to label next: those that the model is least sure of and its heads "
        f"disagree on, spread over images that look different. Writes {TABLE} (all images, the chosen ones first), "
        f"{SHEET}, and {IDS}: the ids that are labelled now and the chosen ones, for partition.labeled_ids. Where the "
        f"images to measure on are a share of those with masks, {VAL_IDS} holds them, for dataset.folder.val.",
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="models/final.pt, or an exported .onnx file, which has one head: uncertainty alone",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help=f"rank the images in it and below; without, the unlabelled ones of {MANIFEST} are ranked. What is "
        f"labelled is not known of a folder, so there is no {IDS}",
    )
    parser.add_argument("--count", type=positive, default=20, help="how many to choose (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("ranking"),
        help="the folder for the results (default: %(default)s); what this command wrote there is replaced",
    )
    parser.add_argument("--no-spread", action="store_true", help="choose by the score alone, however alike images look")
    return parser.parse_intermixed_args(arguments)
