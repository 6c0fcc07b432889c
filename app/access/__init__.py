"""Who calls, and from where: keys, host names and origins of pages."""
