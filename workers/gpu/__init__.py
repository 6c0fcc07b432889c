"""The child process of a slot: runs one attempt of one job."""
