"""Subcommands of `ucc`, one module each: `main(arguments)` returns the exit status."""
