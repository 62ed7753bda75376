"""List the released models as docs/models.md does: python -m dab_detr.zoo"""

from .table import markdown

print(markdown())
