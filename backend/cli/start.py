"""Where `refam` starts: Ctrl-C while its modules are imported ends it as it does later, with one line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from backend.cli.main import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("refam: stopped by Ctrl-C\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
