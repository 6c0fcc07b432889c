"""Attacks that were tried on the server, by topic. ``docs/security.md`` lists them with what happens now."""
