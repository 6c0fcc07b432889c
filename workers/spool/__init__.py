"""Computed outputs on this host, between the process that computes and the process that delivers."""
