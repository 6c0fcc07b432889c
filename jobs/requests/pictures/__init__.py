"""How the pictures of a request are used."""
