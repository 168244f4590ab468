"""Voices of the embedded engine, each behind ``interface.Synthesiser``."""
