"""A private Redis on a Unix socket: find a binary, write its configuration, start it, wait until it is ready."""
