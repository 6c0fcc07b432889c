"""Operation: keys and pauses, usage, the webhooks of all jobs."""
