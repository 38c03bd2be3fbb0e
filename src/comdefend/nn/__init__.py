"""The networks: tensors in, tensors out, and the weights that ship."""
