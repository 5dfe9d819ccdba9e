"""`python -m lookalike` and the `lookalike` command."""

import sys


def main() -> None:
    """Run the command line."""
    from lookalike.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
