"""The gateway's routes, made from the route tables of the functions.

`python -m local.routes` writes `terraform/routes.json`. `python -m local.routes --check` fails if the file is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from functions.auth import routes as auth
from functions.submit import routes as submit

FILE = Path(__file__).resolve().parent.parent / "terraform" / "routes.json"
COMMAND = "python -m local.routes"


def render() -> str:
    """Return the content of `terraform/routes.json`: function and throttle by the gateway's name of the route."""
    routes = {key: {"function": "auth", "throttle": throttle} for key, throttle in auth.ROUTES.items()}
    for route in submit.ROUTES:
        if route.key in routes:
            raise ValueError(f"The route {route.key} is in two tables. Remove it from one of them.")
        routes[route.key] = {"function": "submit", "throttle": route.throttle}
    # `submit` answers all other requests, so that 404 and 405 are problem documents, too.
    routes["$default"] = {"function": "submit", "throttle": "default"}
    lines = (f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in routes.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it. Return 1 if the check fails."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the gateway's routes for Terraform.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is stale")
    wanted = render()
    if not parser.parse_args(arguments).check:
        FILE.write_text(wanted, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"terraform/routes.json does not match the route tables of the functions. Run: {COMMAND}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
