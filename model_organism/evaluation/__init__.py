"""What the model card says of the organism, measured."""
