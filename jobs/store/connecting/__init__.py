"""Connections to Redis, to the primary that Sentinels name, and what is checked of a server."""
