"""The AIME API server's protocol: endpoints from configuration files, for its clients and its GPU workers."""
