"""How the model organism is trained: batches, losses, optimizers, checkpoints and the two processes."""
