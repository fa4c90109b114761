"""What the stage `validate` has said of the data at hand, for the stage that trains on them."""

import json
from pathlib import Path

from ucc.data.manifest import Manifest
from ucc.errors import UserError


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
