"""What every stage script does around its work: read params.yaml, run, report errors as one line."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

# Set before any stage imports the libraries that read them: no network at run time but what a user asked for.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from ucc import paths
from ucc.config import Params
from ucc.errors import UserError, refused
from ucc.files import sweep
from ucc.output import tell
from ucc.params import load_params
from ucc.signals import StoppedError


def run_stage(main: Callable[[Params], None], wait: bool = True) -> None:
    """Call `main` with the parameters of params.yaml and the command line's overrides (`key=value`).

    What a killed process left half written is removed first. With `wait`, another process that runs the same
    script, such as one whose DVC was killed, ends before this one starts; without, `main` refuses by itself.

    Exits with status 1 and one message on a `UserError` or when the machine refuses (disk full, no permission),
    with 130 on Ctrl-C, and with 143 on SIGTERM where the work can be stopped.
    """
    try:
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
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that runs {script} ...", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            # A file system without locks; nothing is lost by it but the wait.
            pass
        yield
