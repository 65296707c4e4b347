"""The catalogue of runs: Tiled, filled from the files of documents."""
