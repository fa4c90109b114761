"""Stage `validate`: stop before training on bad data. Writes reports/validation.json and .html."""

from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.data.validation import validate_dataset
from ucc.data.validation_report import describe_failure, write_reports
from ucc.paths import DATASET, MANIFEST, VALIDATION_JSON, VALIDATION_PAGE
from ucc.stage import run_stage


def main(params: Params) -> None:
    """Check the data set, write the reports, then fail if a check did."""
    result = validate_dataset(DATASET, Manifest.read(MANIFEST), params.validation)
    write_reports(result, VALIDATION_JSON, VALIDATION_PAGE)
    for warning in result.warnings:
        print(describe_failure(warning))
    print(f"{len(result.checks)} checks, {len(result.failures)} failed, {len(result.warnings)} warnings")
    print(f"wrote {VALIDATION_JSON} and {VALIDATION_PAGE}")
    result.raise_if_failed(DATASET)


if __name__ == "__main__":
    run_stage(main)
