"""Compute one request on its diffusers pipeline."""
