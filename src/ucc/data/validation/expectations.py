"""Checks as suites of Great Expectations, one an aspect: they are evaluated, and its Data Docs are built.

Great Expectations takes seconds to import, so only the stage `validate` imports this module.
"""

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Read at import: no report of the run to anybody.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import pandas as pd
from great_expectations import Checkpoint, ExpectationSuite, ValidationDefinition
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from ucc.data.validation.checks import Check
from ucc.data.validation.data_docs import build_data_docs
from ucc.data.validation.result import CheckResult

# Their words for what stops a pipeline and what does not.
SEVERITIES = {"error": "critical", "warning": "warning"}
COMPLETE = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
# A fixed name and time, so that a page of Data Docs has the same address after each run.
RUN = RunIdentifier(run_name="validate", run_time=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))


def run_checks(
    checks: Sequence[Check], tables: Mapping[str, pd.DataFrame], docs: Path | None = None
) -> list[CheckResult]:
    """Evaluate `checks`, one expectation suite an aspect.

    Args:
        checks: each belongs to one of the aspects in `tables`.
        tables: by aspect; every table has a column `id` of unique texts.
        docs: folder that Data Docs, Great Expectations' own pages, replace; nothing else is written anywhere.

    Raises:
        RuntimeError: if an expectation cannot be evaluated, for example because a column does not exist.
    """
    context = _context()
    source = context.data_sources.add_pandas("facts")
    results: dict[str, CheckResult] = {}
    for aspect, table in tables.items():
        chosen = {check.name: check for check in checks if check.aspect == aspect}
        suite = context.suites.add(ExpectationSuite(name=aspect))
        for check in chosen.values():
            suite.add_expectation(
                check.expectation(meta={"check": check.name}, severity=SEVERITIES[check.severity], **check.arguments)
            )
        batch = source.add_dataframe_asset(aspect).add_batch_definition_whole_dataframe("all")
        definition = context.validation_definitions.add(ValidationDefinition(name=aspect, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            Checkpoint(name=aspect, validation_definitions=[definition], result_format=COMPLETE)
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": table}, run_id=RUN)
        for result in (result for suite_result in outcome.run_results.values() for result in suite_result.results):
            check = chosen[_check_name(result)]
            results[check.name] = _check_result(check, result, table)
    if docs:
        build_data_docs(context, docs, RUN.run_time)
    return [results[check.name] for check in checks]


def _context() -> AbstractDataContext:
    """A context in memory. Its usual one would leave an empty folder in the system's folder for temporary files."""
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def _check_name(result: ExpectationValidationResult) -> str:
    config = result.expectation_config
    assert config is not None, "a result always carries the expectation that it belongs to"
    return str(config.meta["check"])


def _check_result(check: Check, result: ExpectationValidationResult, table: pd.DataFrame) -> CheckResult:
    for error in _exceptions(result.exception_info or {}):
        raise RuntimeError(f"check {check.name} of {check.aspect} cannot be evaluated: {error}")
    unexpected = {row["id"] for row in result.result.get("unexpected_index_list") or ()}
    rows = table[table["id"].isin(unexpected)].to_dict("records")
    return CheckResult(
        name=check.name,
        aspect=check.aspect,
        promise=check.promise,
        severity=check.severity,
        success=bool(result.success),
        offenders={row["id"]: check.offender.format_map(row) for row in rows},
        observed=result.result.get("observed_value"),
        remedy=check.remedy,
    )


def _exceptions(info: Mapping[str, Any]) -> Iterable[str]:
    # One entry when all went well, else one for each metric that could not be computed.
    entries = [info] if "raised_exception" in info else info.values()
    return [str(entry["exception_message"]) for entry in entries if entry["raised_exception"]]
