"""Everything that Framemill keeps in Redis. No other package uses Redis or its keys."""
