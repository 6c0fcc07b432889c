"""What every command has: the session with its client, global options, remembered servers, exit codes."""
