"""Pipelines in memory: loading, residency and options."""
