"""The inputs of a request: checked, and converted to what the endpoint declares."""
