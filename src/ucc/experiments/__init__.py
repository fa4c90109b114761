"""Experiments as data: a file says what varies, DVC's own queue runs it, a table says what came out."""
