"""The command `ucc`: its subcommands, its help, and what it does with errors."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import ucc
from ucc.cli import COMMANDS, main
from ucc.errors import UserError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: ucc {name}" in capsys.readouterr().out


def test_help_lists_the_subcommands_and_a_wrong_one_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "segment" in capsys.readouterr().out
    assert main([]) == 2
    assert "usage: ucc" in capsys.readouterr().err
    assert main(["segmnt"]) == 2
    assert "unknown command 'segmnt'" in capsys.readouterr().err


def test_python_m_ucc_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ucc", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ucc {ucc.__version__}\n"


@pytest.mark.parametrize(
    ("raised", "status", "printed"),
    [
        (UserError("a: wrong"), 1, "error: a: wrong\n"),
        (
            OSError(28, "No space left on device", "out/a.png"),
            1,
            "error: out/a.png: No space left on device. Free some space, or move the project to a larger disk, and "
            "run again.\n",
        ),
        (OSError(71, "Protocol error", "out/a.png"), 1, "error: out/a.png: Protocol error\n"),
        (
            FileExistsError(17, "File exists", "pyproject.toml"),
            1,
            "error: pyproject.toml: is a file where a folder is needed; move or remove it and run again.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["user", "disk", "another", "in the way", "ctrl-c"],
)
def test_errors_are_one_line_and_ctrl_c_is_none(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: int,
    printed: str,
) -> None:
    def fail(_: list[str]) -> int:
        raise raised

    monkeypatch.setitem(sys.modules, "ucc.commands.segment", SimpleNamespace(main=fail))
    assert main(["segment"]) == status
    assert capsys.readouterr().err == printed
