"""`key=value` as Hydra's grammar has it: how such an override of params.yaml is read, and how one is written."""

from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException


def readable(override: str) -> str:
    """The override in Hydra's grammar: a value that has no place in it, such as the path `~/photos (1)`, is text.

    So is what Hydra would take for several values to try one after the other, `a,b`.

    Raises:
        OverrideParseException: if it is no `key=value`.
    """
    try:
        if not OverridesParser.create().parse_overrides([override])[0].is_sweep_override():
            return override
    except OverrideParseException:
        if "=" not in override:
            raise
    key, _, value = override.partition("=")
    return f"{key}={literal(value)}"


def literal(value: Any) -> str:
    """A value as Hydra's grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(entry)}" for key, entry in value.items()) + "}"
    return QuotedString(text=value, quote=Quote.single).with_quotes() if isinstance(value, str) else str(value)
