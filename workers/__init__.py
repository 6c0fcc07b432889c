"""The workers: their parent processes, and the children that compute and encode. The only package with torch."""
