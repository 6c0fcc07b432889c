"""Prompts: weights of their parts, prompts longer than the encoder takes, and what is cut off."""
