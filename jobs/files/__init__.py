"""Files of jobs: the spool of computed outputs on each host, and the removal of stored objects."""
