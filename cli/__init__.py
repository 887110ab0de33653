"""The `callinteractive` command: run, serve, check and simulate."""
