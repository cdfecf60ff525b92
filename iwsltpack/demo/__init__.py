"""The demonstration: a miniature model, its test set, and the whole path over them."""
