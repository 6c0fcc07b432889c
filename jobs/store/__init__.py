"""The only door to Redis: one method for each atomic script, and the queries beside them."""
