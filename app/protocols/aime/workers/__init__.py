"""Workers that pull jobs over HTTP: their routes, slots and results."""
