"""Models: what the models file says of them, by name, with the back ends that run some of them."""
