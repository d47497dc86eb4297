"""Models that nobody here made: what is run on them, measured, and how it is written down."""
