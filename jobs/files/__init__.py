"""Files of jobs: the spool of computed frames, and the retention of stored objects."""
