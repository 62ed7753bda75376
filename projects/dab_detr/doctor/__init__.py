"""The dataset doctor: finds faults of a dataset in COCO format before a training spends time on it.

Every check yields `Finding`s. `reading` looks at the annotation file as a file, `references`, `objects`, `boxes` and
`outlines` at its content, `files` at the images on disk, `splits` at two datasets together. Every training starts with
all of them, except that it does not decode every image (`brief`); `examine` runs them in full.
"""
