"""The options that people use most: their short forms, their help page, and the words for wrong ones."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from catdog_pl.arguments import plain_message
from catdog_pl.errors import PLAIN, UsageError, wrong_value
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

_END = r"(?= - (?:Expected|Problem|Not) | Given value |$)"
"""Behind a value or a reason that jsonargparse quotes, where its list of errors goes on."""


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
    if not values and re.match(r"--model\.(?!help$)", option):  # jsonargparse would name another option
        raise UsageError(f"{option}: expected one argument; see --help")
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
    text = re.sub("^Group '(.+)' does not accept option '(.+)'$", r"unrecognized arguments: --\1.\2", text)
    if unknown := re.match(r"(?:unrecognized arguments: --|Option ')([^\s=']+)", text, flags=re.IGNORECASE):
        return f"--{unknown[1]} is no option{nearest(unknown[1], [*SHORT_FORMS, *known])}; see --help"
    # The first key is the option; what is wrong with a class of it is said of that class's own key, the last.
    _, group, *_ = *text.split('"'), ""
    inner = text.rpartition('Parser key "')[2]
    if refused := re.search("given class_path '[^']*': Option '([^']+)' is not accepted", text):
        if group != "model":
            return f"--{group}.{refused[1]} is no option of that class; see --help all"
        if refused[1] in ("backbone", "head"):
            return f"--{refused[1]} is an option of transfer; add --model transfer"
        own = [key for key in known if key.startswith("model.init_args.")]
        return f"--model.{refused[1]} is no option of this model{nearest(refused[1], own)}; see --help"
    if problem := re.search(
        rf"Problem with given class_path '(?:[\w.]*\.)?(\w+)': (?!Parser key)(.*?){_END}", text
    ):
        return f"{problem[1]}: {missing_package(problem[2]) or problem[2]}"
    if other := re.match(
        r"Does not validate.* Errors: - (?!Expected)(.*?) - Expected .*class_path='(?:[\w.]*\.)?(\w+)'", text
    ):
        return f"{other[2]}: {other[1]}"
    if wrong := re.search(rf"Subtypes: \[(.*?)\] Errors: .*? Given value: (.*?){_END}", inner) or re.search(
        rf"Expected an? (.*?)\. Got value: (.*?){_END}", inner
    ):
        option = ".".join(dict.fromkeys((group, inner.partition('"')[0])))
        return wrong_value(f"--{option}", wrong[2], readable(wrong[1]))
    if file := re.search("Unable to load config '(.*?)'", text):
        return f"--{group} {file[1]}: valid is a YAML file of its options, or one as --{group}.NAME VALUE"
    return plain_message(text.replace('Parser key "', "--").replace('":', ":"))


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


def readable(types: str) -> list[str]:
    """Return what is typed for types: ``<class 'int'>, typing.Literal['x']`` -> ``a whole number``, ``x``."""
    types = re.sub(r"<class '([^']+)'>|typing\.Literal\[(.*?)\]", r"\1\2", types)
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", types)) != types:  # what a list holds
        types = shorter
    values = []
    for kind in types.split(", "):
        if kind[0] == "'" or kind.isdigit():
            values.append(kind.strip("'"))
        else:
            name = kind.rpartition(".")[2]
            values += PLAIN.get(name, f"the name of a {name}").split(" or ")
    return values
