"""The options that people use most: their short forms, their help page, and the words for wrong ones."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from catdog_pl.errors import UsageError
from catdog_pl.process import program


class Option(NamedTuple):
    """A row of the table."""

    name: str  # what may be typed behind --
    key: str  # the option of the parser, which is what a saved configuration holds
    default: object  # as the parser has it
    help: str
    stages: tuple[str, ...] = ("fit", "validate", "test")  # whose help shows it; all of them take it


FIT = ("fit",)

COMMON = (
    Option("model", "model", "basic", "basic, or on pretrained weights vgg16, transfer", FIT),
    Option("backbone", "model.backbone", "efficientnet_b0", "of transfer: torchvision's, or timm/NAME", FIT),
    Option("head", "model.head", "linear", "of transfer: linear, or mlp", ()),
    Option("weights", "model.weights", "keras", "or none, or a file; of transfer: DEFAULT by default", FIT),
    Option("preprocessing", "model.preprocessing", "workshop", "workshop is RGB / 255; or imagenet", FIT),
    Option("learning_rate", "model.learning_rate", 0.001, "step size of the optimizer", FIT),
    Option("optimizer", "model.optimizer", "keras_rmsprop", "or a class of torch.optim, such as AdamW", FIT),
    Option("lr_scheduler", "model.lr_scheduler", None, "such as OneCycleLR or CosineAnnealingLR", FIT),
    Option("max_epochs", "trainer.max_epochs", 25, "epochs at most", FIT),
    Option("patience", "early_stopping.patience", 2, "epochs without a better val_loss before it stops", FIT),
    Option("batch_size", "data.batch_size", 50, "photographs per step and device"),
    Option("image_size", "data.image_size", None, "side of the photographs in pixels; the model's, 150", FIT),
    Option("augment", "data.augment", None, "keras, crop, strong or none; the model's, keras", FIT),
    Option("root", "data.root", "data", "folder that prepare wrote: train, validation and test"),
    Option("num_workers", "data.num_workers", None, "processes that decode; default by the data's size"),
    Option("accelerator", "trainer.accelerator", "auto", "cpu, gpu, or auto for a GPU where there is one"),
    Option("devices", "trainer.devices", "auto", "how many, or which, such as 2 or [0,3]"),
    Option("precision", "trainer.precision", None, "32-true (default), 16-mixed or bf16-mixed"),
    Option("seed", "seed_everything", 2018, "of weights, shuffling and augmentation", FIT),
    Option("ckpt_path", "ckpt_path", None, "checkpoint to start from: best, last, or a file"),
    Option("report", "report", False, "write report.html beside the checkpoint", ("test",)),
    Option("tta", "tta", False, "answer by four views of each photograph", ("validate", "test")),
    Option("config", "config", None, "YAML file of options, or a shipped one, such as sample"),
)
"""The help page of ``fit``, ``validate`` and ``test``, in its order."""

SHORT_FORMS = {option.name: option.key for option in COMMON if option.name != option.key}
"""What may be typed -> the key of the parser."""

NAMESAKES = ("EarlyStopping", "ModelCheckpoint")
"""Callbacks of Lightning's whose plain name is also one of ours."""

OTHER_NAMES = {
    "lr": "learning_rate",
    "epochs": "max_epochs",
    "batch": "batch_size",
    "gpus": "devices",
    "workers": "num_workers",
    "resume": "ckpt_path",
    "checkpoint_path": "ckpt_path",
}
"""What other programs call these options, to propose ours."""


def help_page(stage: str) -> str:
    """Return the common options of a command, as one screen of text."""
    rows = [option for option in COMMON if stage in option.stages]
    width = max(len(option.name) for option in rows) + 4
    lines = [f"usage: {program()} {stage} [--OPTION VALUE ...]"]
    for option in rows:
        default = "" if option.default is None else f" (default {option.default})"
        lines.append(f"  {f'--{option.name}':<{width}}{option.help}{default}")
    lines.append(f"\nAll options, also of the Trainer and its callbacks: {program()} {stage} --help all")
    lines.append(f"The options of a model: {program()} {stage} --model vgg16 --help")
    return "\n".join(lines)


def canonical(argv: Sequence[str], class_path: Callable[[str], str]) -> list[str]:
    """Rewrite the short forms to the parser's keys, and order the words so that their order does not matter.

    Configuration files come first, in their order, then the model, then everything else in its order: what
    is typed beats what a file says, and ``--model.dropout 0.2 --model vgg16`` means the same as its reverse.

    Args:
        argv: the words as typed, with underscores in option names.
        class_path: gives the class path of a model's name.

    Returns:
        Words for jsonargparse, each option as ``--key=value`` or ``--key``.
    """
    for word in argv:
        if re.search("[\udc80-\udcff]", word):  # how Python keeps bytes that are not UTF-8
            raise UsageError(f"{word} is not UTF-8, in which configuration files are written; rename it")
    options = [_expand(option, values, class_path) for option, values in grouped(argv)]
    # sorted() is stable: within a rank the order stays, so that the last of two values wins.
    return [word for _, word in sorted(options, key=lambda ranked: ranked[0])]


def grouped(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each option with its words: ``--a=1 --b 2`` -> ``[("--a", ["1"]), ("--b", ["2"])]``."""
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


def _expand(option: str, values: list[str], class_path: Callable[[str], str]) -> tuple[int, str]:
    """Return one option in its canonical spelling behind its rank in the order of ``canonical``."""
    if len(values) > 1:
        raise UsageError(f"{option} takes one value, got {' '.join(values)}; write lists as [a,b]")
    key = {"-h": "help", "-c": "config"}.get(option, option.removeprefix("--"))
    key = SHORT_FORMS.get(key, key)
    # Lightning's own names, such as optimizer.lr.
    key = re.sub(r"^(optimizer|lr_scheduler)\.(?:init_args\.)?", r"model.\1_args.", key)
    key = "model.learning_rate" if key == "model.optimizer_args.lr" else key
    if key.rstrip("+") == "trainer.callbacks" and values and values[0] in NAMESAKES:
        values = [f"lightning.pytorch.callbacks.{values[0]}"]
    if key == "model" and values:
        values = [class_path(values[0])]
    rank = {"config": 0, "model": 1}.get(key, 2)
    return rank, f"--{key}={values[0]}" if values else f"--{key}"


def option_value(words: Sequence[str], key: str) -> str | None:
    """Return the last value of an option among canonical words, or None."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"--{key}=")]
    return values[-1] if values else None


def parse_message(error: str, known: Sequence[str]) -> str:
    """Return a message of jsonargparse as one line, with the nearest of the known keys for an unknown one."""
    text = " ".join(error.split())
    if unknown := re.match(r"unrecognized arguments: --([^\s=]+)", text, flags=re.IGNORECASE):
        return f"--{unknown[1]} is no option{nearest(unknown[1], [*SHORT_FORMS, *known])}; see --help"
    if nested := re.search(r"NestedArg\(key='([^']+)', val='([^']*)'\)", text):
        group = re.match(r'Parser key "(?!model")([^"]+)"', text)
        if group and f"Option '{nested[1]}' is not accepted" in text:
            return f"--{group[1]}.{nested[1]} is no option of that class; see --help all"
        if group:
            return f"--{group[1]}.{nested[1]} {nested[2]}: not a valid value; see --help all"
        if f"model.init_args.{nested[1]}" in known:
            return f"--model.{nested[1]} {nested[2]}: not a valid value; see --help"
        if nested[1] in ("backbone", "head"):
            return f"--{nested[1]} is an option of transfer; add --model transfer"
        own = [key for key in known if key.startswith("model.init_args.")]
        return f"--model.{nested[1]} is no option of this model{nearest(nested[1], own)}; see --help"
    if problem := re.search(
        r"Problem with given class_path '(?:[\w.]*\.)?(\w+)': (.*?)(?= - Expected | Given value |$)", text
    ):
        return f"{problem[1]}: {missing_package(problem[2]) or problem[2]}"
    if other := re.match(
        r"Does not validate.* Errors: - (?!Expected)(.*?) - Expected .*class_path='(?:[\w.]*\.)?(\w+)'", text
    ):
        return f"{other[2]}: {other[1]}"
    if union := re.match(r'Parser key "([^"]+)": .*Subtypes: \[(.*?)\] .*Given value: (.*)', text):
        return f"--{union[1]} {union[3]}: not a valid {readable(union[2])}"
    if single := re.match(r'Parser key "([^"]+)": Expected an? (.*?)\. Got value: (.*)', text):
        return f"--{single[1]} {single[3]}: not a valid {readable(single[2])}"
    return text.replace('Parser key "', "--").replace('":', ":")


def missing_package(error: str) -> str | None:
    """Return what Lightning says of a package that is not installed as one line, or None."""
    hints = re.findall(r"Requirement '([\w-]+)[^']*' not met. HINT: Try running `(pip install [^`]+)`", error)
    return f"the package {hints[-1][0]} is missing; install it with: {hints[-1][1]}" if hints else None


def nearest(key: str, known: Sequence[str]) -> str:
    """Return `` (did you mean --batch_size?)`` for the known key most like this one, or nothing."""
    if key in OTHER_NAMES:
        return f" (did you mean --{OTHER_NAMES[key]}?)"
    whole = [name.replace(".init_args.", ".") for name in known]
    last = {name.rpartition(".")[2]: name for name in whole}
    # What a user types comes first: --modle is nearer to the mode of --checkpoint.mode than to --model.
    if close := difflib.get_close_matches(key, whole, n=1, cutoff=0.75):
        return f" (did you mean --{close[0]}?)"
    close = difflib.get_close_matches(key, last, n=1)
    return f" (did you mean --{last[close[0]]}?)" if close else ""


def readable(subtypes: str) -> str:
    """Return a union's types in plain words: ``<class 'int'>, <class 'NoneType'>`` -> ``int or null``."""
    names = re.sub(r"<class '([^']+)'>", r"\1", subtypes).replace("NoneType", "null")
    return " or ".join(re.sub(r"[\w.]+\.(?=\w)", "", part.strip()) for part in names.split(", "))
