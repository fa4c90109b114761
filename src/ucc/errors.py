"""The error that is meant for the user rather than for the programmer."""

from collections.abc import Iterable

SHOWN = 5


class UserError(Exception):
    """Bad input that the user can mend.

    The message names the thing (key, file, value) and the remedy; it is printed without a traceback
    and the process exits with status 1.
    """


def some(names: Iterable[str]) -> str:
    """The first few of many names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
