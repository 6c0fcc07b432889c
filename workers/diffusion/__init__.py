"""One request on its diffusers pipeline."""
