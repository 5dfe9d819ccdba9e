"""Write docs/commands.md from the commands' own help; with --check, say whether it is up to date.

python docs/commands.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer.main
from generated import write_or_check

from lookalike.cli.main import app

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# The commands

Written by `docs/commands.py` from the commands' own `--help`; a test keeps it true.

Results go to standard output, progress and messages to standard error. Exit code 0: done; 1: the work failed; 2: the
command line was wrong; 130: interrupted by Ctrl-C. Every command takes `--debug`, which prints the traceback of an error.
"""


def render() -> str:
    """Return the page."""
    group: Any = typer.main.get_command(app)  # its class is typer's own copy of click's Group
    parts = [HEAD]
    for name, command in group.commands.items():
        context = command.context_class(
            command, info_name=f"lookalike {name}", terminal_width=100, max_content_width=100
        )
        parts.append(f"## lookalike {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "commands.py"))
