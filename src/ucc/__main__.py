"""`python -m ucc`: the command `ucc` where no entry point is installed."""

import sys

from ucc.cli import main

sys.exit(main())
