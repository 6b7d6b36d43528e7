"""A model as a folder for the Hugging Face Hub: weights, settings and a model card."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from catdog_pl.data.statistics import wilson_interval
from catdog_pl.errors import CatDogError, one_line
from catdog_pl.export import Photographs
from catdog_pl.export.portable import probabilities
from catdog_pl.io.files import HUB_WEIGHTS, atomic_write
from catdog_pl.models import hub
from catdog_pl.models.checkpoint import load_with_contents
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.spec import THRESHOLD

CARD = "README.md"

Counts = list[list[int]]
"""How many photographs of each class (row) were answered as each class (column)."""


def export_hub(
    model: Classifier, checkpoint: dict[str, Any], target: Path, photographs: Photographs | None = None
) -> Iterator[str]:
    """Write a folder that ``load_checkpoint`` reads, and read it.

    Args:
        model: with the checkpoint's weights, on any device.
        checkpoint: as ``read_checkpoint`` returns it.
        target: a new folder, or one that this function has written, whose files are then replaced.
        photographs: what the model card measures the model on.

    Raises:
        CatDogError: the folder holds something else or cannot be written, or what was read differs.
    """
    from safetensors.torch import save  # only the extra ``export`` has it

    if target.is_dir() and any(target.iterdir()) and not (target / HUB_WEIGHTS).is_file():
        raise CatDogError(f"{target} is a folder with other files; give another --output")
    state = {key: value.detach().cpu().contiguous() for key, value in checkpoint["state_dict"].items()}
    weights = save(state, {"format": "pt"})
    config = hub.config(checkpoint, hashlib.sha256(weights).hexdigest())
    counts = counted(model, photographs) if photographs else None
    texts = {hub.CONFIG: hub.as_json(config), CARD: card(config, target.name, counts)}
    files = {HUB_WEIGHTS: weights} | {name: text.encode() for name, text in texts.items()}
    try:
        with ExitStack() as stack:  # each is complete before the first takes its place
            for name, content in files.items():
                stack.enter_context(atomic_write(target / name)).write_bytes(content)
    except CatDogError:
        with suppress(OSError):  # it was there with other files, or is not there
            target.rmdir()
        raise
    _, found = load_with_contents(target)
    if any(not torch.equal(found["state_dict"][key].cpu(), value) for key, value in state.items()):
        raise CatDogError(f"{target} does not give back what was written; do not use it, and report this")
    unmeasured = "no measured accuracy; give the test photographs by --root FOLDER"
    told = accuracy(counts) if counts else unmeasured
    return iter(["read back: the same weights, to the bit", f"{CARD}: {told}"])


def counted(model: Classifier, photographs: Photographs) -> Counts | None:
    """Return a model's answers to its test photographs, counted; None where there are none."""
    pixels, _, labels = photographs(model)
    if labels is None:
        return None
    answers = (probabilities(model, pixels) > THRESHOLD).astype(int)
    return np.bincount(2 * labels + answers, minlength=4).reshape(2, 2).tolist()


def accuracy(counts: Counts) -> str:
    """Return the accuracy with its interval, in words."""
    right, total = counts[0][0] + counts[1][1], sum(map(sum, counts))
    low, high = wilson_interval(right, total)
    return (
        f"accuracy {right / total:.3f} ({right:,} of {total:,} test photographs; 95 % interval {low:.2f} to "
        f"{high:.2f})"
    )


def card(config: dict[str, Any], name: str, counts: Counts | None) -> str:
    """Return the model card: YAML that the Hub reads, and Markdown for people."""
    hparams, data, name = config["hyper_parameters"], config["data"], one_line(name)
    size, temperature = data["image_size"], config.get("temperature")
    first, second = (f"`{one_line(label).replace('`', ' ')}`" for label in data["class_names"])
    about: dict[str, Any] = {
        "license": "unknown",
        "library_name": "catdog_pl",
        "pipeline_tag": "image-classification",
        "tags": ["catdog_pl", "pytorch-lightning", str(hparams.get("backbone") or config["model"])],
    }
    measured = "Nothing was measured when this card was written."
    if counts:
        share = (counts[0][0] + counts[1][1]) / sum(map(sum, counts))
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": "test photographs of its run", "type": "imagefolder"},
            "metrics": [{"type": "accuracy", "value": round(share, 4)}],
        }
        about |= {"metrics": ["accuracy"], "model-index": [{"name": name, "results": [result]}]}
        rows = [f"| {label} | {a:,} | {b:,} |" for label, (a, b) in zip((first, second), counts, strict=True)]
        head = ["", f"| True class | Answered {first} | Answered {second} |", "|---|---|---|"]
        measured = "\n".join([accuracy(counts).capitalize() + ".", *head, *rows])
    progress = f"Trained to epoch {config['epoch'] + 1}, step {config['global_step']}."
    trained = progress if config["global_step"] else "Not trained by catdog_pl itself."
    calibration = (
        f"Divided by the temperature {temperature:.3g}, the logits give calibrated probabilities."
        if temperature
        else "The probabilities are not calibrated: 0.99 need not be right 99 times of 100."
    )
    return f"""\
---
{yaml.safe_dump(about, sort_keys=False, allow_unicode=True).rstrip()}
---

# {name}

Tells {first} from {second} in a photograph, by the probability of {second}.

## Measured

{measured}

## Use

With `catdog_pl` and `safetensors` installed, and this folder here:

```python
from catdog_pl import load_checkpoint, predict

model = load_checkpoint({json.dumps(name)})
print(next(predict("picture.jpg", model)))
```

## Preprocessing

`predict` ignores EXIF orientation, puts transparent pictures on white, and resizes to {size} x {size}
pixels by `{data["predict_resize"]}`, whatever their shape; test photographs are resized by
`{data["resize"]}`. The network takes RGB pixels from 0 to 255, shape (N, 3, {size}, {size}), scales them
itself, and gives logits. Above a probability of {THRESHOLD} the answer is {second}.

## Training

{trained} The hyper-parameters and the versions of the libraries are in `{hub.CONFIG}`:

{settings(hparams)}

## Data

Photographs in two folders, {first} and {second}. To be added by whoever publishes this: where they come
from, how many they are, and under which licence.

## Intended use and limits

- For photographs that show one of the two classes. Any other picture gets one of the two answers, too,
  perhaps with a probability near 0 or 1.
- Photographs of another kind than those of the training, such as drawings or other breeds, may be
  answered worse than measured above.
- {calibration}
- The licence depends on the photographs and on the pretrained weights, if there were some; whoever publishes
  this has to choose it, above.
"""


def settings(hparams: dict[str, Any]) -> str:
    """Return hyper-parameters as a table; those that are not set, or are long, are left out."""
    texts = {key: json.dumps(value) for key, value in hparams.items() if value not in (None, {})}
    rows = [f"| `{key}` | `{text}` |" for key, text in texts.items() if len(text) < 100 and "`" not in text]
    return "\n".join(["| Hyper-parameter | Value |", "|---|---|", *rows])
