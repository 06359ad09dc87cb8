"""Methods that transfer a pretrained network, one file each, imported with the models."""
