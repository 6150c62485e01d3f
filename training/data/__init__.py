"""From audio files to training batches: manifest, cache, sampler, augment."""
