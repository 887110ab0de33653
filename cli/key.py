"""The site's secret (`callinteractive.keys`) for the parts that one `run` starts."""

from __future__ import annotations

import os
import secrets
from functools import cache

from callinteractive.keys import OLD_VARIABLE, VARIABLE, site_key


@cache
def shared_key() -> str:
    """In hex: that of the environment, or one that lives as long as this process."""
    return os.environ.get(VARIABLE) or os.environ.get(OLD_VARIABLE) or secrets.token_hex(16)


def missing_key() -> str | None:
    """Why a part that is started on its own can't know the site's secret; None when it does."""
    try:
        if site_key(os.environ):
            return None
    except ValueError as error:
        return str(error)
    return f"{VARIABLE} must be set, the same for every part of the site: to 32 hex digits (openssl rand -hex 16)"
