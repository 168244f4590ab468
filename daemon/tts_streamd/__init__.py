"""The daemon: composition root, configuration and command line."""
