"""Executors: from a request to frames, one file per kind of back end."""
