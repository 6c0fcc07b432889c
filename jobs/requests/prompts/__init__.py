"""Tags in prompts, and what they stand for."""
