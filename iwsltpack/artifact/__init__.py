"""The compressed model on disk: recipe, builder, reader, integrity, sizes."""
