"""The actors, and the runtime that keeps them alive."""
