"""Generation requests: the fields of a caller, checked against the model."""
