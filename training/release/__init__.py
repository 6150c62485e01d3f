"""From a checkpoint to a bundle: graphs, proof, and the model's card."""
