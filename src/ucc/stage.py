"""What every stage script does around its work: read params.yaml, run, report errors as one line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

from ucc.startup import imports_are_done
from ucc import paths
from ucc.config import Params
from ucc.errors import UserError, refused, some
from ucc.files import sha256, sweep, wait_for_lock
from ucc.output import tell
from ucc.overrides import literal
from ucc.params import load_params
from ucc.signals import StoppedError


def run_stage(main: Callable[[Params], None], wait: bool = True) -> None:
    """Call `main` with the parameters of params.yaml and the command line's overrides (`key=value`).

    What a killed process left half written is removed first. With `wait`, another process that runs the same
    script, such as one whose DVC was killed, ends before this one starts; without, `main` refuses by itself.
    Under DVC it is an error if parameters or files that DVC will record were changed while `main` ran.

    Exits with status 1 and one message on a `UserError` or when the machine refuses (disk full, no permission),
    with 130 on Ctrl-C, and with 143 on SIGTERM where the work can be stopped.
    """
    imports_are_done()
    try:
        with _as_recorded():
            params = load_params(overrides=sys.argv[1:])
            script = Path(sys.argv[0])
            with _alone(script) if wait and script.is_file() else nullcontext():
                for folder in {paths.RAW, *(place.parent for name, place in vars(paths).items() if name.isupper())}:
                    sweep(folder)
                main(params)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if words := refused(error):
            sys.exit(f"error: {words}")
        raise
    except StoppedError as stopped:
        tell(stopped, error=True)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _alone(script: Path) -> Iterator[None]:
    """Hold a lock on the script's file, which ends with the process, however it ends."""
    with script.open("rb") as held:
        wait_for_lock(held, f"waiting for another process that runs {script} ...")
        yield


@contextmanager
def _as_recorded() -> Iterator[None]:
    """Under DVC, which reads what it records as the origin of results only when they are there: nothing else made them.

    Raises:
        UserError: if parameters or files that dvc.yaml lists for the stage have changed meanwhile.
    """
    # As DVC addresses it: from a folder below the project with the path of dvc.yaml before it.
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    # Of several processes the one that started the others looks.
    started = "UCC_LAUNCHER" in os.environ or os.environ.get("LOCAL_RANK", "0") != "0"
    # No such stage where another pipeline runs the script.
    listed = _section(_yaml(Path("dvc.yaml")), f"stages.{stage}") if stage and not started else None
    if not listed:
        yield
        return
    params, files = _params(listed), _hashes(listed)
    yield
    changed = [
        f"params.yaml: {key} changed from {before} to {now}"
        for key, (before, now) in _differences(params, _params(listed)).items()
    ]
    changed += [f"{file} changed" for file in _differences(files, _hashes(listed))]
    if changed:
        remedy = "`dvc repro` runs it again."
        if stage == "train":
            remedy = (
                "The training is not lost, runs/ keeps it: with the change undone, `dvc repro` ends at once with its "
                "results; else it trains with what is there now."
            )
        raise UserError(
            f"{some(changed)} while the stage {stage} ran. DVC would take that for what made the results, and is kept "
            f"from recording them. {remedy}"
        )


def _params(listed: dict[str, Any]) -> dict[str, str]:
    """The parameters of a stage, by keys such as train.lr."""
    tree = _yaml(Path("params.yaml"))
    sections = [key for key in listed.get("params", []) if isinstance(key, str)]
    return {key: literal(value) for section in sections for key, value in _leaves(section, _section(tree, section))}


def _hashes(listed: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of a stage's dependencies by path: files and folders of code, no data set, which is too large for it."""
    found: dict[str, str] = {}
    for path in (Path(dep) for dep in listed.get("deps", []) if isinstance(dep, str)):
        files = [path] if path.is_file() else path.rglob("*.py") if path.is_relative_to("src") else []
        found |= {str(file): sha256(file) for file in sorted(files)}
    return found


def _differences(before: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    both = {key: (before.get(key, "nothing"), now.get(key, "nothing")) for key in before | now}
    return {key: (old, new) for key, (old, new) in both.items() if old != new}


def _yaml(path: Path) -> Any:
    """The content of a file; None if there is none."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _section(tree: Any, key: str) -> Any:
    """What stands at a key such as `evaluate.split`; None if nothing does."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _leaves(key: str, section: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(section, dict):
        for name, value in section.items():
            yield from _leaves(f"{key}.{name}", value)
    else:
        yield key, section
