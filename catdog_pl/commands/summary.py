"""``summary``: a model's layer table as Keras prints it."""

from collections.abc import Sequence
from inspect import signature

from catdog_pl.arguments import ArgumentParser, positive, spellings
from catdog_pl.errors import UsageError
from catdog_pl.models.registry import MODELS, model_class
from catdog_pl.process import gc_paused, leave_out_unused


def parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = ArgumentParser(
        "summary", description="Print a model's layers, output shapes and parameter counts."
    )
    add = parser.add_argument
    add("--model", default="basic", metavar="NAME", help=f"{' or '.join(MODELS)}; default basic")
    add("--backbone", metavar="NAME", help="of transfer, such as resnet50; default efficientnet_b0")
    add(
        *spellings("image_size"),
        type=positive(int),
        metavar="PIXELS",
        help="side of the square images; default the model's own, the workshop's 150",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the table and the totals of one model.

    Raises:
        UsageError: the model is unknown, or takes no images of that size.
    """
    options = parser().parse_args(argv)
    leave_out_unused()
    with gc_paused():
        cls = model_class(options.model)
        given = {"backbone": options.backbone} if options.backbone else {}
        if given and "backbone" not in signature(cls).parameters:
            raise UsageError(
                f"--backbone {options.backbone}: only --model transfer has a choice of backbones"
            )
        model = cls.skeleton(image_size=options.image_size, **given)
        from catdog_pl.models.summary import RULE, layer_rows, table, totals

    print(table(layer_rows(model)), totals(model), RULE, sep="\n")
    return 0
