"""The sidecar: one asyncio process a core, running calls behind Kamailio."""
