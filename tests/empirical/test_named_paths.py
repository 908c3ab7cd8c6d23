import pytest

from empirical.errors import DataError, StudyError
from empirical.named_paths import named_paths, named_values
from empirical.options import check_at_least


def test_values_by_name_in_the_order_given() -> None:
    assert list(named_values("--budget", ("b=2", "a=1e3"), "SOURCE=SAMPLES", float).items()) == [
        ("b", 2.0),
        ("a", 1e3),
    ]
    assert named_values("--group", ("a=x=y",), "NAME=REGEX") == {"a": "x=y"}
    assert named_paths("--source", ("a-1=p/", "b_2=q/{0..9}.tar")) == {"a-1": "p/", "b_2": "q/{0..9}.tar"}


@pytest.mark.parametrize("value", ["a", "a=", "=1", "a=many", ""])
def test_another_form_is_named_with_the_right_one(value: str) -> None:
    with pytest.raises(DataError, match=f"^--budget {value!r}: write --budget SOURCE=SAMPLES, such as a=1$"):
        named_values("--budget", (value,), "SOURCE=SAMPLES, such as a=1", float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a=p", "a=q"), "the name 'a' is given twice"),
        (("A=p", "a=q"), "the name 'a' is given twice"),
        (("a b=p",), "the name of letters, digits"),
        (("test-a=p",), "names that start with test-"),
    ],
)
def test_names_that_files_cannot_have(values: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        named_paths("--source", values, rename=str.lower, reserved="test-")


def test_numbers_below_what_is_needed_name_their_option() -> None:
    class Options:
        batch_size, share = 1, float("nan")

    check_at_least(Options, batch_size=1)
    with pytest.raises(StudyError, match="--batch-size must be at least 2, got 1"):
        check_at_least(Options, batch_size=2)
    with pytest.raises(StudyError, match="--share must be at least 0, got nan"):
        check_at_least(Options, share=0)
