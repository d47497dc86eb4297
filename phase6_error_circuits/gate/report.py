"""Phase 6.1b on the page."""
