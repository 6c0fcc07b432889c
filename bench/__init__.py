"""Measurements: ``make bench`` runs them all in a short form, ``make chaos`` kills things; RESULTS.md has figures."""
