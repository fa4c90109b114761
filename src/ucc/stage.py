"""What every stage script does around its work: read params.yaml, run, report errors as one line."""

import errno
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
from ucc.signals import StoppedError

# What the machine may refuse to a correct program, and what its user can do about it; any other OSError is a defect.
REMEDIES = {
    errno.ENOSPC: "Free some space, or move the project to a larger disk, and run again.",
    errno.EDQUOT: "Free some of your quota and run again.",
    errno.EFBIG: "Allow larger files (ulimit -f, or another file system) and run again.",
    errno.EROFS: "Run in a folder that can be written to.",
    errno.EACCES: "Give yourself the permission (chmod, chown) and run again.",
    errno.EPERM: "Give yourself the permission (chmod, chown) and run again.",
    errno.EMFILE: "Allow more open files (ulimit -n) or lower train.workers, and run again.",
    errno.EIO: "The disk does not answer as it should; check it, then run again.",
}


def run_stage(main: Callable[[Params], None]) -> None:
    """Call `main` with the parameters of params.yaml and the command line's overrides (`key=value`).

    Exits with status 1 and one message on a `UserError` or when the machine refuses (disk full, no permission),
    with 130 on Ctrl-C, and with 143 on SIGTERM where the work can be stopped.
    """
    try:
        main(load_params(overrides=sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        sys.exit(f"error: {error.filename or 'writing'}: {error.strerror}. {REMEDIES[error.errno]}")
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        sys.exit(130)
