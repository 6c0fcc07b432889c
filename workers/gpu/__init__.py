"""The pool's child that computes: one attempt of one job."""
