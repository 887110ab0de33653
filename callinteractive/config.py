"""site.yaml and ivr.yaml: what reads them, and what neither shows alone."""

from __future__ import annotations

from callinteractive.ivr_file import IVR_KEYS, is_ivr_file, load_ivr_file, load_ivr_files
from callinteractive.model import IvrFile, Site, pools_of
from callinteractive.site_file import SITE_KEYS, load_site

__all__ = ("IVR_KEYS", "SITE_KEYS", "is_ivr_file", "load_ivr_file", "load_ivr_files", "load_site", "without_pool")


def without_pool(site: Site, ivr_file: IvrFile) -> dict[str, str]:
    """Contexts whose pool the site does not have: what is wrong, by context ID. Neither file shows it alone."""
    pools = pools_of(site.sidecars)
    return {
        context.id: f"the site has no pool {context.pool!r} of sidecars"
        for context in ivr_file.contexts.values()
        if context.pool is not None and context.pool not in pools
    }
