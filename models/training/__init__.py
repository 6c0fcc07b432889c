"""Training code of the two demo models: a small world of shapes, drawn, captioned, learned and judged."""
