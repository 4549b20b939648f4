"""A deployment whose parties are killed, cut off, filled up and misled about the time."""
