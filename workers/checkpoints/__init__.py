"""Checkpoints of runs: record one between two steps, and go on from it in another attempt."""
