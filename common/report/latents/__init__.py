"""A page for one latent, and the same of the selected ones in the report."""
