"""What all processes of the service measure: durations and counts, added up in Redis."""
