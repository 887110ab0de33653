"""One call: the dip that is not yet answered, the answered call, its callee, and the inbox that keeps their order."""
