"""Benchmarks. ``make bench`` runs them in a short form, ``make chaos`` kills processes; RESULTS.md has the figures."""
