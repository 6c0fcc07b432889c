"""What the device of a slot is like now, and was in the last hour."""
