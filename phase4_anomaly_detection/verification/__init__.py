"""A stricter look at one program, with what this machine has; see verify.py."""
