"""Three ways to run the same protocols: traced on shapes, both parties in one process, or over a network."""
