"""Trains the two demo models on a small world of shapes: drawing, captions, training and scoring."""
