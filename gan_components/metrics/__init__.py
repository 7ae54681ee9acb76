"""Numbers that judge a generator: one noun a file, each ``features -> statistics -> number`` in NumPy."""
