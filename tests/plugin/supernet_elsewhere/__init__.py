"""One plug-in for every registry, in a distribution of its own (see the ``dist-info`` beside this folder)."""
