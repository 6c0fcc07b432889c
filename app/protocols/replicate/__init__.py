"""Replicate's API: predictions, models and files. :mod:`jobs.prediction_view` has the states and the form of a job."""
