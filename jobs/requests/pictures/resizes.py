"""The ways in which a picture is fitted to another size."""

from __future__ import annotations

#: Scaled in both directions; scaled to cover, and the middle cut out; scaled to fit, and the border filled with the
#: colours of the edge. The first one is the default of input images and masks.
RESIZES = ("stretch", "crop", "pad")
