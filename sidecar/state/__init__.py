"""Calls written down, so that they outlive the process that runs them."""
