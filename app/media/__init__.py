"""Pictures and sound that callers send: checked, decoded within a budget, stored."""
