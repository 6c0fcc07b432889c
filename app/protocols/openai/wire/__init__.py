"""What images and videos have in common: access, errors, schemas, mapping, and repeats of requests."""
