"""The error that is meant for the user rather than for the programmer."""


class UserError(Exception):
    """Bad input that the user can mend.

    The message names the thing (key, file, value) and the remedy; it is printed without a traceback
    and the process exits with status 1.
    """
