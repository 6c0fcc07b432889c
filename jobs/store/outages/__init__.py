"""What Redis says when it refuses writes."""
