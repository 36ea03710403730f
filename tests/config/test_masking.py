"""No secret of the file is shown, and none is lost when what is shown comes back changed."""

from __future__ import annotations

import pytest

from sandkasten_kernels.config.masking import KEPT, Masked
from sandkasten_kernels.errors import ConfigError

SECRET = "s3cret-word"
FILE = f"""\
# our key
listen: 127.0.0.1:9000
api_key: {SECRET}  # {SECRET} since May
pool:
  # the old one was api_key: 0ld-word
  images: {{tokenizer: 2}}
"""


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        f"api_key: '{SECRET}'",
        f'{{listen: x, "api_key": "{SECRET}"}}\n',
        f"api_key: |\n  {SECRET}\n  more\nlisten: x\n",
        f"api_key: >-\n\n  {SECRET}\n",
        f"api_key: {SECRET}\n  and more\nlisten: x\n",
        f"api-key: {SECRET}\n",
        f"pool: {{api_key: {SECRET}}}\n",
        f"ApiKey: [a, {SECRET}]\n",
        f"API_KEY:\n  inner:\n    - {SECRET}\nlisten: x\n",
        f"listen: x\n#api_key: {SECRET}\n",
        f"listen: x # token = {SECRET}\n",
    ],
)
def test_a_secret_is_not_shown_and_comes_back(text: str) -> None:
    masked = Masked.of(text)
    assert SECRET not in masked.text
    assert "0ld-word" not in masked.text
    assert "more" not in masked.text
    assert KEPT in masked.text
    back = masked.restored(masked.text)
    assert SECRET in back
    assert Masked.of(back).text == masked.text


@pytest.mark.parametrize(
    "text",
    [
        f'api_key: "{SECRET}"#{SECRET} since May\n',
        f'{{api_key: "{SECRET}"}}#{SECRET}\n',
        f'{{"api_key":#{SECRET}\n  {SECRET}}}\n',
        f"api_key: {SECRET}-2  # {SECRET}-2\n",
        f"api_key: [other, {{a: {SECRET}}}]  # {SECRET}\n",
        f"api_key: |\n  first\n  {SECRET}\n# {SECRET}\n",
        f"api_key: '{SECRET}''s'  # {SECRET}''s or {SECRET}'s\n",
        f"listen: x  # {SECRET}\r\n",
        f"# api_key: {SECRET}\n# api_key: {SECRET}-2\n",
    ],
)
def test_a_comment_that_repeats_a_secret_is_masked_as_its_value_is(text: str) -> None:
    masked = Masked.of(text, [SECRET])
    assert SECRET not in masked.text
    assert "-2" not in masked.text
    back = masked.restored(masked.text)
    assert back.count(SECRET) == text.count(SECRET)
    if "|" not in text:  # of which the quotes are others, when it comes back
        assert back == text


def test_a_secret_as_short_as_a_word_hides_that_word_alone() -> None:
    masked = Masked.of("api_key: abc  # abc of abcd\n")
    assert masked.text == f"api_key: {KEPT}  # {KEPT} of abcd\n"
    assert masked.restored(masked.text) == "api_key: abc  # abc of abcd\n"


def test_what_is_no_secret_stays_as_it_is() -> None:
    masked = Masked.of(FILE)
    for words in ("# our key", "127.0.0.1:9000", "since May", "{tokenizer: 2}"):
        assert words in masked.text
    assert masked.restored(masked.text) == FILE


def test_other_lines_may_change() -> None:
    masked = Masked.of(FILE)
    changed = masked.text.replace("9000", "9001").replace("pool:\n", "allowed_images: [base]\npool:\n")
    wanted = FILE.replace("9000", "9001").replace("pool:\n", "allowed_images: [base]\npool:\n")
    assert masked.restored(changed) == wanted


def test_a_new_secret_takes_the_place_of_the_old() -> None:
    masked = Masked.of(FILE)
    back = masked.restored(masked.text.replace(f"api_key: {KEPT}  # {KEPT}", "api_key: new"))
    assert "api_key: new" in back
    assert SECRET not in back


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"default_image: {KEPT}\n", ("default_image",)),
        (f"pool: {{api_key: {KEPT}}}\n", ("pool", "api_key")),
        (f"default_image: |\n  # the old one was api_key: {KEPT}\n", ("default_image",)),
    ],
)
def test_a_secret_is_not_moved_to_where_it_is_shown(text: str, path: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Masked.of(FILE).restored(text)
    assert caught.value.path == path
    assert SECRET not in str(caught.value)
    assert "0ld-word" not in str(caught.value)


def test_a_key_that_is_an_everyday_word_hinders_nothing() -> None:
    masked = Masked.of("api_key: python\ndefault_image: python\n")
    assert masked.text == f"api_key: {KEPT}\ndefault_image: python\n"
    assert masked.restored(masked.text) == "api_key: python\ndefault_image: python\n"
