"""What caller and callee notice when a process or a host dies. By hand: `make matrix`, `make chaos`."""
