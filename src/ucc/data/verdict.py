"""What the stage `validate` has said of the data at hand, for the stage that trains on them."""

import json
from pathlib import Path

from ucc.data.manifest import Manifest
from ucc.errors import UserError
from ucc.files import write_json


def write_verdict(path: Path, success: bool, manifest: Manifest) -> None:
    """Write, atomically, what training has to know of a validation.

    The report is a file of its own: what it found beside a threshold, or in other words, is no reason to train again.
    """
    write_json(path, {"success": success, "manifest": manifest.hash})


def require_validated(verdict: Path, manifest: Path) -> None:
    """Refuse data that were not validated, or that failed.

    DVC stops at a failed stage, but not where it is told to run a later one alone (`dvc repro -s train`).

    Args:
        verdict: the JSON file that `validate` writes.
        manifest: the table of samples that is to be trained on.

    Raises:
        UserError: unless `verdict` is a success, and of this manifest.
    """
    again = "Run `dvc repro validate` and mend what it names."
    try:
        found = json.loads(verdict.read_text(encoding="utf-8"))
        success, validated = found["success"], found["manifest"]
    except OSError as error:
        raise UserError(
            f"{verdict}: cannot be read ({error.strerror}): nothing says that the data are sound. {again}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{verdict}: not what the stage `validate` writes. {again}") from error
    partition = Manifest.read(manifest).hash
    if validated != partition:
        raise UserError(f"{verdict}: is of partition {validated}, but {manifest} is partition {partition}. {again}")
    if success is not True:
        raise UserError(f"{verdict}: the data set failed validation, so nothing is trained on it. {again}")
