"""`run.py report`: what was found, what was run and what to beware of, on one page. See document.py."""
