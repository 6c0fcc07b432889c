"""Encode computed outputs and store them."""
