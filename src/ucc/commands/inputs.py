"""Which images a command line means, and where the pictures of each go."""

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ucc.errors import UserError, some
from ucc.images import SUFFIXES

KINDS = ("classes", "overlay", "uncertainty")
SHARES = ("shares.csv", "shares.json")


class Input(NamedTuple):
    """An image file, and what it is called among the results: its path below the folder that was given."""

    path: Path
    name: Path

    def outputs(self, folder: Path, kinds: Sequence[str]) -> list[Path]:
        """Where its pictures are written."""
        return [folder / self.name.parent / f"{self.name.stem}_{kind}.png" for kind in kinds]


def find_inputs(given: Sequence[str], out: Path) -> list[Input]:
    """Images, folders (with all below them) and glob patterns to images, each once, in a stable order.

    Folders and patterns give the files whose names end like an image's, hidden ones and those below `out` left aside.
    Which others there are is told on stderr.

    Raises:
        UserError: if one of `given` is or gives nothing, a folder to be searched lies in `out`, or one cannot be read.
    """
    found: dict[Path, Input] = {}
    others: dict[str, list[str]] = {}
    suffixes = ", ".join(sorted(SUFFIXES))
    for text in given:
        images: list[Input] = []
        for file in _files_of(text, out):
            if file.path == Path(text) or _ends_like_an_image(file.path):
                images.append(file)
            else:
                others.setdefault(text, []).append(file.name.as_posix())
        if not images:
            raise UserError(f"{text}: no image found ({suffixes}).")
        for image in images:
            found.setdefault(image.path.resolve(), image)
    for text, names in others.items():
        print(f"note: {text}: left out, since not {suffixes}: {some(names)}", file=sys.stderr)
    return list(found.values())


def check_outputs(inputs: Iterable[Input], folder: Path, kinds: Sequence[str]) -> None:
    """Refuse to begin where one image's pictures would overwrite another's, or an image itself.

    Raises:
        UserError: naming both files.
    """
    images = {image.path.resolve(): image for image in inputs}
    owners: dict[Path, Input] = {}
    for image in images.values():
        for output in image.outputs(folder, kinds):
            place = output.resolve()
            if place in images:
                raise UserError(f"{output}: a picture of {image.path} would overwrite this image; use another OUT.")
            other = owners.setdefault(place, image)
            if other is not image:
                raise UserError(
                    f"{output}: {other.path} and {image.path} would both be written there; give each its own OUT."
                )


def _files_of(text: str, out: Path) -> Iterator[Input]:
    path = Path(text)
    if path.is_dir():
        _refuse_around(text, path, out)
        yield from (Input(file, file.relative_to(path)) for file in _walk(path, out, tuple(path.resolve().parents)))
    elif path.exists() or not glob.has_magic(text):
        if not path.exists():
            raise UserError(f"{text}: no such file or folder.")
        yield Input(path, Path(path.name))
    else:
        base = _fixed_part(path)
        _refuse_around(text, base, out)
        # Path.glob takes no absolute pattern.
        matches = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207
        yield from (Input(file, file.relative_to(base)) for file in matches if _counts(file, out))


def _refuse_around(text: str, folder: Path, out: Path) -> None:
    """Whatever lies in OUT counts as a picture of an earlier run, so images there would be passed over."""
    if folder.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{text}: the folder that is searched must not be OUT ({out}) or lie in it; use another OUT.")


def _walk(folder: Path, out: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Files of a folder, then those of the folders in it; links are followed, but not to a folder that holds them."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}); mend it, or name what else is wanted."
        ) from error
    for entry in entries:
        if _ends_like_an_image(entry) and entry.is_symlink() and not entry.exists():
            raise UserError(f"{entry}: a link to nowhere; mend or remove it.")
    yield from (entry for entry in entries if _counts(entry, out))
    above = (*above, folder.resolve())
    for entry in entries:
        if entry.is_dir() and entry.resolve() not in above:
            yield from _walk(entry, out, above)


def _counts(file: Path, out: Path) -> bool:
    return not file.name.startswith(".") and file.is_file() and not file.resolve().is_relative_to(out.resolve())


def _ends_like_an_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
