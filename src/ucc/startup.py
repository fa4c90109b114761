"""What a stage's script imports before all else: environment and interpreter as the libraries that follow want them."""

import gc
import os

# No network at run time but what a user asked for.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

# Imports make a million objects and hardly any garbage: to look for it among them again and again, and once more at the
# end of the process, takes half as long as they themselves (benchmarks/startup.py).
_USUAL = gc.get_threshold()
gc.set_threshold(100_000, 50, 100)


def imports_are_done() -> None:
    """Look for garbage as usual from now on, and not among what has been imported."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
