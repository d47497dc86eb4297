"""The detector as an HTTP service. See app.py for what it answers and run.py for how it starts and stops."""
