"""What monitors ask: health, readiness, metrics."""
