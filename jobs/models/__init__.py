"""Models by name, as the models file describes them, and the back ends that run some of them."""
