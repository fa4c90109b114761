"""The manifest: the only list of samples, named by a hash over its content."""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ucc.errors import UserError
from ucc.files import write_csv

SUBSETS = ("labeled", "unlabeled", "val", "test")


@dataclass(frozen=True, order=True)
class Sample:
    """One image.

    `id` is `<split>/<stem>`; `image` and `mask` are paths relative to the data set's folder; `mask` is empty
    where there is none. The mask of an unlabelled image is never opened in training.
    """

    id: str
    image: str
    mask: str
    subset: str


COLUMNS = tuple(f.name for f in fields(Sample))


class Manifest:
    """Samples in the order of their ids."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = tuple(sorted(samples))

    def subset(self, name: str) -> tuple[Sample, ...]:
        """The samples of one of `SUBSETS`."""
        if name not in SUBSETS:
            raise ValueError(f"no subset {name!r}; there are {', '.join(SUBSETS)}")
        return tuple(sample for sample in self.samples if sample.subset == name)

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 over all rows: the partition's name."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update("\x1f".join(astuple(sample)).encode() + b"\x1e")
        return digest.hexdigest()[:16]

    def write(self, path: Path) -> None:
        """Write the table as CSV with the header id,image,mask,subset."""
        write_csv(path, [dict(zip(COLUMNS, astuple(s), strict=True)) for s in self.samples], COLUMNS)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the table that `write` wrote.

        Raises:
            UserError: if it is missing or not such a table.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as table:
                reader = csv.DictReader(table)
                if tuple(reader.fieldnames or ()) != COLUMNS:
                    raise UserError(f"{path}: the header must be {','.join(COLUMNS)}.")
                samples = []
                for row in reader:
                    if None in row or None in row.values():
                        raise UserError(f"{path}: line {reader.line_num} must have {len(COLUMNS)} fields.")
                    samples.append(Sample(**row))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}). The stage `partition` writes it.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it in that encoding.") from error
        except csv.Error as error:
            raise UserError(f"{path}: not a valid CSV table ({error}). The stage `partition` writes it.") from error
        for sample in samples:
            if sample.subset not in SUBSETS:
                raise UserError(f"{path}: {sample.id}: subset {sample.subset!r} is none of {', '.join(SUBSETS)}.")
        return cls(samples)


def measured_samples(manifest: Manifest, split: str) -> tuple[Sample, ...]:
    """The samples of `evaluate.split`.

    Raises:
        UserError: if there are none.
    """
    samples = manifest.subset(split)
    if not samples:
        raise UserError(
            f"evaluate.split = {split}: the data set has no image of that split; set it to val. Images that are added "
            f"(to a folder as images/{split} and masks/{split}) make another partition, for which training begins anew."
        )
    return samples
