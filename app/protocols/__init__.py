"""One adapter per wire protocol; they never import each other."""
