"""Models in memory: loading, eviction, load options, and what a job changes in a pipeline for its duration."""
