"""LanceDB: the only place that imports lancedb and lance. Tables, the text cache, publications."""
