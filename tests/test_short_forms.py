import pytest

from catdog_pl.errors import UsageError
from catdog_pl.models.registry import class_path
from catdog_pl.short_forms import SHORT_FORMS, canonical, option_value, parse_message


@pytest.mark.parametrize("short", SHORT_FORMS)
@pytest.mark.parametrize("form", ["--{} 3", "--{}=3"])
def test_every_short_form_becomes_its_canonical_key(short: str, form: str) -> None:
    assert canonical(form.format(short).split(), class_path) == [f"--{SHORT_FORMS[short]}=3"]


def test_model_names_become_class_paths_in_both_spellings() -> None:
    assert canonical(["--model", "vgg16"], class_path) == ["--model=catdog_pl.models.VGG16"]
    assert canonical(["--model=basic"], class_path) == ["--model=catdog_pl.models.Basic"]
    assert canonical(["--model=catdog_pl.models.Basic"], class_path) == ["--model=catdog_pl.models.Basic"]


def test_the_order_of_the_words_does_not_matter() -> None:
    words = ["--model.dropout", "0.2", "-c", "b.yaml", "--model", "vgg16", "--seed=3"]
    expected = [
        "--config=b.yaml",
        "--model=catdog_pl.models.VGG16",
        "--model.dropout=0.2",
        "--seed_everything=3",
    ]
    assert canonical(words, class_path) == expected


def test_names_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^caf\\udce9 is not UTF-8, .*; rename it$"):
        canonical(["--root", "caf\udce9"], class_path)


def test_of_two_values_the_last_wins_and_files_keep_their_order() -> None:
    typed = ["--seed", "1", "--config", "a", "--seed_everything=2", "--config", "b", "--print_config"]
    words = canonical(typed, class_path)
    assert words == [
        "--config=a",
        "--config=b",
        "--seed_everything=1",
        "--seed_everything=2",
        "--print_config",
    ]
    assert option_value(words, "seed_everything") == "2"
    assert option_value(words, "ckpt_path") is None


def test_values_may_hold_equals_signs_and_minus() -> None:
    assert canonical(["--root=a=b", "--seed", "-1"], class_path) == [
        "--data.root=a=b",
        "--seed_everything=-1",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model resnet", "Model 'resnet' is unknown; valid are basic, vgg16, transfer, sequential"),
        ("stray --seed 1", "'stray' is no option"),
        ("--model.filters 32 64", r"--model.filters takes one value, got 32 64; write lists as \[a,b\]"),
    ],
)
def test_wrong_words_are_named(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        canonical(words.split(), class_path)


def union(key: str, types: str, value: str) -> str:
    """Return what jsonargparse says of a value that is of none of the types."""
    return (
        f'Parser key "{key}":\n  Does not validate against any of the Union subtypes\n  Subtypes: [{types}]\n'
        "  Errors:\n    - Expected a <class 'int'>\n"
        f"  Given value type: <class 'str'>\n  Given value: {value}"
    )


def of_class(key: str, reason: str) -> str:
    """Return what jsonargparse says of a class that was given by its path, which it tries twice."""
    problem = f"Problem with given class_path 'a.b.C':\n  {reason}"
    return (
        f'Parser key "{key}":\n  Does not validate against any of the Union subtypes\n'
        f"  Subtypes: [list[a.b.C], <class 'a.b.C'>, <class 'NoneType'>]\n  Errors:\n    - {problem}\n"
        f"    - {problem}\n    - Expected a <class 'NoneType'>\n"
        "  Given value type: <class 'jsonargparse._util.NestedArg'>\n"
        "  Given value: NestedArg(key='dropout', val='x')"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "unrecognized arguments: --batchsize=4",
            "--batchsize is no option (did you mean --batch_size?); see --help",
        ),
        ("unrecognized arguments: --zzz=4", "--zzz is no option; see --help"),
        (
            "Group 'trainer' does not accept option 'max_epoch'",
            "--trainer.max_epoch is no option (did you mean --trainer.max_epochs?); see --help",
        ),
        ("Option 'foo' is not accepted", "--foo is no option; see --help"),
        (
            union("trainer.max_epochs", "<class 'int'>, <class 'NoneType'>", "abc"),
            "--trainer.max_epochs abc: valid is a whole number or null",
        ),
        (
            union(
                "trainer.precision", "typing.Literal[64, 32], typing.Literal['64', 'bf16-mixed']", "bf16-mxed"
            ),
            "--trainer.precision bf16-mxed: valid is 64, 32 or bf16-mixed (did you mean bf16-mixed?)",
        ),
        (
            union("x", "<class 'a.B'>, list[typing.Union[a.B, dict[str, c.D]]], <class 'bool'>", "[1, 2]"),
            "--x [1, 2]: valid is the name of a B, a list such as [a,b], true or false",
        ),
        (
            "Parser key \"data.batch_size\":\n  Expected a <class 'int'>. Got value: many",
            "--data.batch_size many: valid is a whole number",
        ),
        (
            of_class("model", "Option 'dropuot' is not accepted"),
            "--model.dropuot is no option of this model (did you mean --model.dropout?); see --help",
        ),
        (
            of_class("model", "Option 'backbone' is not accepted"),
            "--backbone is an option of transfer; add --model transfer",
        ),
        (
            of_class("trainer.callbacks", "Option 'foo' is not accepted"),
            "--trainer.callbacks.foo is no option of that class; see --help all",
        ),
        (
            of_class("model", "Parser key \"dropout\": Expected a <class 'float'>. Got value: x"),
            "--model.dropout x: valid is a number",
        ),
        (
            of_class("model", union("unfreeze", "<class 'int'>, typing.Literal['all']", "alll")),
            "--model.unfreeze alll: valid is a whole number or all (did you mean all?)",
        ),
        (
            of_class(
                "trainer.callbacks", "Parser key \"scheduling\": Expected a <class 'dict'>. Got value: x"
            ),
            "--trainer.callbacks.scheduling x: valid is a table such as {a: 1}",
        ),
        ("argument --tta: ignored explicit argument 'yes'", "--tta takes no value, got yes"),
        (
            'Parser key "data":\nUnable to load config \'x\'\n  - Parser key "data": Unable to load',
            "--data x: valid is a YAML file of its options, or one as --data.NAME VALUE",
        ),
        (
            'Parser key "trainer.logger":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
            "    - Problem with given class_path 'a.b.WandbLogger':\n"
            "        Requirement 'wandb>=0.12.10' not met. "
            "HINT: Try running `pip install -U 'wandb>=0.12.10'`\n    - Expected a <class 'bool'>",
            "WandbLogger: the package wandb is missing; install it with: pip install -U 'wandb>=0.12.10'",
        ),
        (
            "Does not validate against any of the Union subtypes\nErrors:\n  - The store is closed.\n"
            "  - Expected a <class 'bool'>\nGiven value: Namespace(class_path='a.b.MLFlowLogger')",
            "MLFlowLogger: The store is closed.",
        ),
    ],
)
def test_parser_messages_become_one_line(error: str, message: str) -> None:
    known = ["trainer.max_epochs", "model.init_args.dropout", "data.batch_size"]
    assert parse_message(error, known) == message
