"""Ways to run the same protocols: traced on shapes, in one process, over a network."""
