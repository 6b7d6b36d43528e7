"""The short forms of the command line, as a pure function over its words."""

import difflib
import re
from collections.abc import Mapping, Sequence

from catdog_pl.errors import UsageError

SHORT_FORMS = {
    "accelerator": "trainer.accelerator",
    "devices": "trainer.devices",
    "precision": "trainer.precision",
    "max_epochs": "trainer.max_epochs",
    "root": "data.root",
    "image_size": "data.image_size",
    "batch_size": "data.batch_size",
    "num_workers": "data.num_workers",
    "learning_rate": "model.learning_rate",
    "weights": "model.weights",
    "preprocessing": "model.preprocessing",
    "patience": "early_stopping.patience",
    "seed": "seed_everything",
}
"""What may be typed -> the canonical key, which is what a saved configuration holds."""


def canonical(argv: Sequence[str], models: Mapping[str, str]) -> list[str]:
    """Rewrite the short forms to canonical keys, and order the words so that their order does not matter.

    Configuration files come first, in their order, then the model, then everything else in its order: what
    is typed beats what a file says, and ``--model.dropout 0.2 --model vgg16`` means the same as its reverse.

    Args:
        argv: the words as typed.
        models: class path of each model name.

    Returns:
        Words for jsonargparse, each option as ``--key=value`` or ``--key``.

    Raises:
        UsageError: a word belongs to no option, or a model name is unknown.
    """
    options = [expand(option, values, models) for option, values in grouped(argv)]
    # sorted() is stable: within a rank the order stays, so that the last of two values wins.
    return [word for _, word in sorted(options, key=lambda ranked: ranked[0])]


def grouped(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each option with the words behind it: ``--a=1 --b 2`` -> ``[("--a", ["1"]), ("--b", ["2"])]``.

    Raises:
        UsageError: the first word is no option.
    """
    groups: list[tuple[str, list[str]]] = []
    for word in argv:
        if word.startswith("--") or word in ("-h", "-c"):
            option, equals, value = word.partition("=")
            groups.append((option, [value] if equals else []))
        elif groups:
            groups[-1][1].append(word)
        else:
            raise UsageError(f"{word!r} is no option; options start with --, for example --model vgg16")
    return groups


def expand(option: str, values: list[str], models: Mapping[str, str]) -> tuple[int, str]:
    """One option in its canonical spelling, and its rank in the order of ``canonical``."""
    if len(values) > 1:
        raise UsageError(f"{option} takes one value, got {' '.join(values)}; write lists as [a,b]")
    key = {"-h": "help", "-c": "config"}.get(option, option.removeprefix("--"))
    key = SHORT_FORMS.get(key, key)
    if key == "model" and values and not is_class_path(values[0], models):
        values = [model_path(values[0], models)]
    rank = {"config": 0, "model": 1}.get(key, 2)
    return rank, f"--{key}={values[0]}" if values else f"--{key}"


def is_class_path(value: str, models: Mapping[str, str]) -> bool:
    """Whether the model is given as the class path that a configuration file holds."""
    return value in models.values()


def model_path(name: str, models: Mapping[str, str]) -> str:
    """The class path of a model name.

    Raises:
        UsageError: there is no such model.
    """
    if name not in models:
        raise UsageError(f"Model {name!r} is unknown; valid are {', '.join(models)}")
    return models[name]


def option_value(words: Sequence[str], key: str) -> str | None:
    """The last value of an option among canonical words, or None."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"--{key}=")]
    return values[-1] if values else None


def parse_message(error: str, known: Sequence[str]) -> str:
    """One line for what jsonargparse says in several.

    Args:
        error: its message.
        known: the valid keys, from which the nearest is proposed for an unknown one.
    """
    text = " ".join(error.split())
    if unknown := re.match(r"unrecognized arguments: --([^\s=]+)", text, flags=re.IGNORECASE):
        return f"--{unknown[1]} is no option{nearest(unknown[1], [*SHORT_FORMS, *known])}; see --help"
    if nested := re.search(r"NestedArg\(key='([^']+)', val='([^']*)'\)", text):
        if f"model.init_args.{nested[1]}" in known:
            return f"--model.{nested[1]} {nested[2]}: not a valid value; see --help"
        own = [key for key in known if key.startswith("model.init_args.")]
        return f"--model.{nested[1]} is no option of this model{nearest(nested[1], own)}; see --help"
    if union := re.match(r'Parser key "([^"]+)": .*Subtypes: \[(.*?)\] .*Given value: (.*)', text):
        return f"--{union[1]} {union[3]}: not a valid {readable(union[2])}"
    if single := re.match(r'Parser key "([^"]+)": Expected an? (.*?)\. Got value: (.*)', text):
        return f"--{single[1]} {single[3]}: not a valid {readable(single[2])}"
    return text.replace('Parser key "', "--").replace('":', ":")


def nearest(key: str, known: Sequence[str]) -> str:
    """`` (did you mean --batch_size?)`` for the known key most like this one, or nothing."""
    whole = [name.replace(".init_args.", ".") for name in known]
    last = {name.rpartition(".")[2]: name for name in whole}
    # What a user types comes first: --modle is nearer to the mode of --checkpoint.mode than to --model.
    if close := difflib.get_close_matches(key, whole, n=1, cutoff=0.75):
        return f" (did you mean --{close[0]}?)"
    close = difflib.get_close_matches(key, last, n=1)
    return f" (did you mean --{last[close[0]]}?)" if close else ""


def readable(subtypes: str) -> str:
    """A union's types as a person writes them: ``<class 'int'>, <class 'NoneType'>`` -> ``int or null``."""
    names = re.sub(r"<class '([^']+)'>", r"\1", subtypes).replace("NoneType", "null")
    return " or ".join(part.strip().removeprefix("typing.") for part in names.split(", "))
