"""What every process has, whatever it does: its log, its folders, and turns between its pieces of work."""
