"""The input files of a run: read, fitted to its size, and as its pipeline takes them."""
