"""The site's secret (`callinteractive.keys`) for the parts that one `run` starts."""

from __future__ import annotations

import os
import secrets
from functools import cache

from callinteractive.keys import OLD_VARIABLE, VARIABLE


@cache
def shared_key() -> str:
    """In hex: that of the environment, or one that lives as long as this process."""
    return os.environ.get(VARIABLE) or os.environ.get(OLD_VARIABLE) or secrets.token_hex(16)
