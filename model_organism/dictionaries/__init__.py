"""The organism's sparse dictionaries, SAEs and transcoders: activations, training, files, measurements."""
