"""Numbers about the past: what the devices of slots measured, what API keys used."""
