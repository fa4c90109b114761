"""Stage `validate`: stop before training on bad data. Writes its verdict and three reports below reports/."""

from ucc.stage import run_stage
from ucc.config import Params
from ucc.data.manifest import Manifest
from ucc.data.validation.page import write_page
from ucc.data.validation.result import describe_failure
from ucc.data.validation.run import validate_dataset
from ucc.data.verdict import write_verdict
from ucc.paths import DATA_DOCS, DATASET, MANIFEST, VALIDATION_JSON, VALIDATION_PAGE, VERDICT


def main(params: Params) -> None:
    """Check the data set, write the reports, then fail if a check did."""
    manifest = Manifest.read(MANIFEST)
    result = validate_dataset(DATASET, manifest, params.validation, DATA_DOCS)
    result.write(VALIDATION_JSON)
    write_verdict(VERDICT, not result.failures, manifest)
    write_page(result, DATASET, manifest, VALIDATION_PAGE)
    for warning in result.warnings:
        print(describe_failure(warning))
    print(f"{len(result.checks)} checks, {len(result.failures)} failed, {len(result.warnings)} warnings")
    print(f"wrote {VALIDATION_JSON}, {VALIDATION_PAGE} and {DATA_DOCS}/index.html")
    result.raise_if_failed(DATASET)


if __name__ == "__main__":
    run_stage(main)
