"""Self-supervised methods, one file each; every file that registers one is imported with the models."""
