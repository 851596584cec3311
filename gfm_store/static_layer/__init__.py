"""The static layer: co-interaction graph, text vectors, HGNN, item vectors. Trained rarely."""
