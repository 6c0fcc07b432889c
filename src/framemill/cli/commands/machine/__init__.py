"""Commands for this machine: its remembered servers, its checkout, its shell."""
