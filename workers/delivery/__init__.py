"""From raw frames to stored outputs."""
