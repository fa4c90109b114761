"""What validation found, and the JSON file that says so to programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ucc.data.dataset import DRAWN, DatasetInfo
from ucc.data.validation.drift import Drift
from ucc.data.validation.duplicates import NearTwin
from ucc.errors import UserError
from ucc.files import write_json

NAMED_OFFENDERS = 20
# DVC watches params.yaml and what stages write, not the folder that the data come from.
MEND = (
    "Mend files in dataset.root (without one, in data/raw), not in {dataset}, which is written anew; then run "
    "`dvc repro -f download`, then `dvc repro`. After a change of params.yaml alone, `dvc repro` is enough."
)
REDRAW = (
    "The files of {dataset} are drawn, so none has to be mended: change params.yaml and run `dvc repro`; damaged files "
    "are drawn anew by `dvc repro -f download`."
)


@dataclass(frozen=True)
class CheckResult:
    """What came of one check; `offenders` maps the ids of rows to what is wrong with them."""

    name: str
    aspect: str
    promise: str
    severity: str
    success: bool
    offenders: Mapping[str, str]
    observed: int | None
    remedy: str


@dataclass(frozen=True)
class ValidationResult:
    """All that the reports say; nothing in it depends on time or machine.

    `image_sizes` holds the number of images of each size "<height>x<width>"; `class_shares`, for each subset with
    masks, the share of each class among the pixels that are not ignored, 0..1, and `class_images` the number of
    images that show it. `drift` is empty where there is nothing to compare, `near_duplicates` None where they
    were not looked for.
    """

    dataset: str
    manifest: str
    images: Mapping[str, int]
    image_sizes: Mapping[str, int]
    checks: Sequence[CheckResult]
    class_shares: Mapping[str, Mapping[str, float]]
    class_images: Mapping[str, Mapping[str, int]]
    drift: Sequence[Drift]
    near_duplicates: Sequence[NearTwin] | None

    @property
    def failures(self) -> list[CheckResult]:
        """The failed checks that stop the pipeline."""
        return [check for check in self.checks if not check.success and check.severity == "error"]

    @property
    def warnings(self) -> list[CheckResult]:
        """The failed checks that do not."""
        return [check for check in self.checks if not check.success and check.severity == "warning"]

    def as_dict(self) -> dict[str, Any]:
        """The content of reports/validation.json; histograms are for the page."""
        values = {"success": not self.failures} | asdict(self)
        for figure in values["drift"]:
            del figure["labeled_shares"], figure["unlabeled_shares"]
        return values

    def write(self, path: Path) -> None:
        """Write the JSON file atomically."""
        write_json(path, self.as_dict())

    def raise_if_failed(self, dataset: Path) -> None:
        """Stop the pipeline on a failed check.

        Raises:
            UserError: with the failed checks, the offending files below `dataset`, and the remedies.
        """
        if self.failures:
            drawn = DatasetInfo.read(dataset).provenance.get("source") == DRAWN
            raise UserError(
                f"{dataset}: the data set failed validation.\n"
                + "\n".join(map(describe_failure, self.failures))
                + "\n"
                + (REDRAW if drawn else MEND).format(dataset=dataset)
            )


def describe_failure(check: CheckResult) -> str:
    """A failed check as text: what was promised, the offending rows (the first twenty), and the remedy."""
    found = [] if check.observed is None else [f"found {check.observed}"]
    found += list(check.offenders.values())[:NAMED_OFFENDERS]
    if len(check.offenders) > NAMED_OFFENDERS:
        found.append(f"and {len(check.offenders) - NAMED_OFFENDERS} more, see the report")
    lines = [f"{check.severity}: {check.name} ({check.promise}):", *found, f"remedy: {check.remedy}"]
    return "\n  ".join(lines)
