"""What a running attempt reports to its job's record, and how it learns that it must stop."""
