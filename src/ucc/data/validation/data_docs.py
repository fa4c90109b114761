"""Great Expectations' own pages of what was validated, the same for the same data whenever they are built."""

import datetime
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext

from ucc.files import atomic_folder, explained

_BUILDER = logging.getLogger("great_expectations.render.renderer.site_builder")
_MOMENT = re.compile(r"\b\d{8}T\d{6}\.\d{6}Z")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def build_data_docs(context: AbstractDataContext, folder: Path, moment: datetime.datetime) -> None:
    """Replace `folder` by the pages of `context`.

    Args:
        context: its suites and results are shown.
        folder: replaced as a whole, once every page is there.
        moment: stands in the pages for the time at which they were built.

    Raises:
        UserError: naming `folder`, if the disk is full or refuses otherwise.
        RuntimeError: if a page cannot be built for another reason.
    """
    with explained(folder), atomic_folder(folder) as temporary:
        context.add_data_docs_site(
            "reports",
            {
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(temporary.absolute()),
                },
            },
        )
        with _errors_raised():
            context.build_data_docs()
        for page in temporary.rglob("*.html"):
            page.write_text(_repeatable(page.read_text(encoding="utf-8"), moment), encoding="utf-8")


class _Swallowed(logging.Filter):
    """Keeps the errors that the builder of the pages logs, a traceback each, and the exceptions behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def filter(self, record: logging.LogRecord) -> bool:
        error = sys.exc_info()[1]
        if record.levelno < logging.ERROR or error is None:
            return True
        self.errors.append(error)
        return False


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise what the builder would pass over, leaving pages out."""
    swallowed = _Swallowed()
    _BUILDER.addFilter(swallowed)
    try:
        yield
    finally:
        _BUILDER.removeFilter(swallowed)
    for error in swallowed.errors:
        if isinstance(error, OSError):
            raise error
        raise RuntimeError(f"Data Docs cannot be built: {error}") from error


def _repeatable(page: str, moment: datetime.datetime) -> str:
    """The page without what differs from one build to the next, which would make each a new version of the data.

    That is the time, also in the address of a logo, and the random names that join a button to what it opens.
    """
    page = _MOMENT.sub(f"{moment:%Y%m%dT%H%M%S.%fZ}", page)
    number = count()
    for uuid in dict.fromkeys(_UUID.findall(page)):
        page = page.replace(uuid, f"part-{next(number)}")
    return page
