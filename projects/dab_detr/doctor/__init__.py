"""The dataset doctor: what is wrong with a dataset in COCO format, before it costs a night.

Every check is a generator of :class:`~.finding.Finding`, over one annotation file (`references`, `objects`, `boxes`),
over its images on disk (`files`) or over two datasets together (`splits`). All of them run at the start of every
training, but that not every picture is decoded then; `examine` runs them in full.
"""
