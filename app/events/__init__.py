"""Events on their way to waiting requests: the hub, and what their listeners share."""
