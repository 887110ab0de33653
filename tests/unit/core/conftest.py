"""How the core's properties are tried: a slow or busy machine fails no test."""

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
