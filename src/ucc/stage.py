"""What every stage script does around its work: read params.yaml, run, report errors as one line."""

import os
import sys
from collections.abc import Callable

# Set before any stage imports the libraries that read them: no network at run time but what a user asked for.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from ucc.config import Params
from ucc.errors import UserError
from ucc.params import load_params


def run_stage(main: Callable[[Params], None]) -> None:
    """Call `main` with the parameters of params.yaml and the command line's overrides (`key=value`).

    Exits with status 1 and one message on a `UserError`, with 130 on Ctrl-C.
    """
    try:
        main(load_params(overrides=sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
