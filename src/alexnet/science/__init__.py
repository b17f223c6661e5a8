"""For vision science: activations of layers for sets of stimuli, in the files that other programs open."""
