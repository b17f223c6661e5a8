"""Search by picture (paper 6.1): the images of a collection whose activations are nearest to a picture's.

``checksums``, ``rows``, ``manifest``, ``images``: the files of an index, each held against its checksum before it is
used; ``projection``: few numbers that stand for many; ``exact``, ``approximate``: the two ways to search; ``changes``,
``pieces``, ``make``: what is new, what of it is computed, and how an index comes to be; ``index``: an opened one;
``codes``, ``bits``: binary codes, and what they cost.
"""
