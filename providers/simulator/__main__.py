"""``python -m providers.simulator``: the server without the platform around it."""

import argparse
import sys

from . import command


def _announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="providers.simulator", description=__doc__)
    command.add_arguments(parser)
    options = parser.parse_args()
    command.run(
        host=options.host,
        port=options.port,
        ledger_file=options.ledger_file,
        prices_files=options.prices_file or (),
        announce=_announce,
        ends_with_stdin=options.ends_with_stdin,
    )


if __name__ == "__main__":
    main()
