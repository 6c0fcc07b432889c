"""Commands that show and administer the server."""
