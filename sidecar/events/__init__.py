"""Where the records of calls go (E2): files, standard output, web applications."""
