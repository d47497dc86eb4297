"""The files of an attribution graph: JSON, GraphML, a page that needs no network, and a small drawing."""
