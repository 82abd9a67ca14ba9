"""The networks: everything that imports Keras."""
