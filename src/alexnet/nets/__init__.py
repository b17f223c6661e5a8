"""The networks: tables of layers, the builder that makes modules of them, the layers torch is slow at."""
