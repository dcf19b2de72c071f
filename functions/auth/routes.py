"""The table of the routes that the function `auth` serves. The gateway's routes are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Throttle = Literal["default", "token"]

# The gateway's name of each route, and its throttle by the name in Terraform. No route needs an access token.
ROUTES: Mapping[str, Throttle] = {
    "POST /oauth/token": "token",
    "GET /.well-known/jwks.json": "default",
    "GET /.well-known/oauth-authorization-server": "default",
}
