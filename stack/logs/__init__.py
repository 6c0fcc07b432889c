"""Where the output of the processes goes, what its lines look like, and how it is followed."""
