"""What the gallery draws of an example: its `images`, a dictionary from captions to images, in a row."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper


def drawn(block: Any, variables: dict[str, Any], conf: dict[str, Any]) -> str:
    """Return the images of a block of an example: those it drew itself, and the row of its `images`."""
    found = matplotlib_scraper(block, variables, conf)
    images = variables["example_globals"].get("images")
    if not images:
        return str(found)
    from invprob import show
    from invprob.report import Picture

    figure, places = plt.subplots(1, len(images), figsize=(3.2 * len(images), 3.5), squeeze=False)
    for place, (caption, image) in zip(places[0], images.items(), strict=True):
        picture = image if isinstance(image, Picture) else show(image)
        place.imshow(plt.imread(BytesIO(picture.png())), cmap="gray")
        place.set_title(caption, fontsize=11)
        place.axis("off")
    path = next(variables["image_path_iterator"])
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return str(found) + str(figure_rst([path], conf["src_dir"]))
