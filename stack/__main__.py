"""``python -m stack up`` and ``python -m stack demo``."""

from __future__ import annotations

import sys

from stack import demo, redis_server, up

COMMANDS = {"up": up.main, "demo": demo.main, "redis": redis_server.main}
USAGE = """\
usage: python -m stack COMMAND

  up      start Redis, web server, workers and Flower; Ctrl-C stops them
  demo    start all of it, make an image and a video, stop it again
  redis   start the embedded Redis alone
"""


def main(argv: list[str]) -> int:
    """Run a command; returns its exit code, 2 for an unknown one."""
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if not argv or argv[0] not in COMMANDS:
        print(USAGE, end="", file=sys.stderr)
        return 2
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
