"""What monitors read of the whole service."""
