"""YAML as DVC writes it, read fast: a dvc.lock has hundreds of lines, and every experiment has one."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_LOADER: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
_LOADER.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != _TIMESTAMP]
    for first, forms in _LOADER.yaml_implicit_resolvers.items()
}
# To DVC, which follows YAML 1.2, 1e-05 is a number; to PyYAML, which follows 1.1, it is text.
_LOADER.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+|\.[0-9]+|[0-9]+\.[0-9]*)[eE][-+]?[0-9]+$"),
    [*"-+.0123456789"],
)


@lru_cache(maxsize=8)  # one experiment's texts are asked for several times
def parse_yaml(text: str) -> Mapping[str, Any]:
    """The mapping that a text of YAML holds; empty if it holds none.

    Raises:
        yaml.YAMLError: if it is no YAML.
    """
    loaded = yaml.load(text, _LOADER)
    return loaded if isinstance(loaded, dict) else {}
