"""What an error says can be shown on a terminal, whatever it quotes."""

import pytest

from fedit_shared.errors import LONGEST, FeditError, UserError


@pytest.mark.parametrize("odd", ["\x1b[2J", "\r", "\x9b", "\u202e", "\u2028", "\ud800", "\x00"])
def test_an_error_that_quotes_somebody_elses_text_moves_no_cursor_and_can_be_written(odd: str) -> None:
    error = UserError(f"No file {odd}x.", advice=f"Not {odd} but another.")
    for text in (error.message, error.advice, str(error), *error.args):
        assert odd not in text
        assert text.encode()
    assert error.message.startswith("No file ")
    assert error.message.endswith("x.")


def test_an_error_is_one_line_of_any_language_and_not_as_long_as_what_it_quotes() -> None:
    assert FeditError("two\nlines").message == "two lines"
    assert FeditError("Die Datei „Übung“ fehlt; 找不到文件。").message == "Die Datei „Übung“ fehlt; 找不到文件。"
    assert len(FeditError("x" * 10**6).message) == LONGEST
