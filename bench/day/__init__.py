"""A simulated day of a large service: the real scripts on a real Redis, in compressed time."""
