"""JSON and forms that callers send, read within limits; JSON that is sent."""
